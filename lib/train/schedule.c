/* Learning rates as the published recipe's: rate at / warmup, then to 0 over what is left (Loshchilov and Hutter's
 * cosine without restarts; the polynomial with power 1.5). */
#include "train/schedule.h"

#include <math.h>

double mf_schedule_rate(const mf_schedule *s, double at) {
    if (at < s->warmup)
        return s->rate * (at / s->warmup);
    double rest = s->epochs - s->warmup;
    double done = rest > 0 ? (at - s->warmup) / rest : 1;
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    switch (s->kind) {
    case MF_SCHEDULE_COSINE:
        return s->rate * 0.5 * (1 + cos(3.14159265358979323846 * done));
    case MF_SCHEDULE_POLYNOMIAL:
        return s->rate * (s->end + (1 - s->end) * pow(1 - done, 1.5));
    case MF_SCHEDULE_CONSTANT:
        break;
    }
    return s->rate;
}
