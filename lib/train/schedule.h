/* The learning rate over a run: linear warm-up, then cosine, polynomial or constant. */
#ifndef MFRGN_TRAIN_SCHEDULE_H
#define MFRGN_TRAIN_SCHEDULE_H

typedef enum mf_schedule_kind {
    MF_SCHEDULE_COSINE = 0,
    MF_SCHEDULE_POLYNOMIAL = 1, /* power 1.5 */
    MF_SCHEDULE_CONSTANT = 2
} mf_schedule_kind;

typedef struct mf_schedule {
    mf_schedule_kind kind;
    double rate;   /* at its highest */
    double end;    /* polynomial: at the end, as a share of `rate` */
    double warmup; /* epochs */
    double epochs;
} mf_schedule;

/* At `at` epochs (0 .. epochs; whole steps are at = epoch + batch / batches): the rate of the step that begins there.
 */
double mf_schedule_rate(const mf_schedule *s, double at);

#endif
