/* The library's worker threads: one set a context, made when first needed, asleep when idle.
 *
 * A job is a number of tasks behind an atomic counter.  The caller takes tasks as the workers do, so that a job ends
 * even if every worker is busy elsewhere; several threads may post jobs at once, and jobs may be posted from tasks.
 * Between two operations of a run a worker looks out for the next job for about 20 us before it sleeps: waking costs
 * more than that (futex), and a graph has some hundred short operations. */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/context.h"

enum { MAX_WORKERS = 255, SPINS = 4000 };

typedef struct job {
    void (*task)(void *arg, int index);
    void *arg;
    int tasks;
    int next;   /* atomic: the next task to take */
    int done;   /* atomic: tasks finished */
    int inside; /* workers that look at this job; under the lock */
    struct job *link;
} job;

struct mf_pool {
    mfrgn_context *context;
    pthread_mutex_t lock;
    pthread_cond_t posted, finished;
    job *first; /* jobs that may have tasks left */
    int serial; /* atomic: counts the jobs posted */
    int stop;
    int workers;
    pthread_t thread[MAX_WORKERS];
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_tasks(job *j) {
    int index;
    while ((index = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < j->tasks) {
        j->task(j->arg, index);
        __atomic_add_fetch(&j->done, 1, __ATOMIC_ACQ_REL);
    }
}

static job *find_job(mf_pool *pool) {
    for (job *j = pool->first; j; j = j->link)
        if (__atomic_load_n(&j->next, __ATOMIC_RELAXED) < j->tasks)
            return j;
    return NULL;
}

static void *work(void *arg) {
    mf_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    while (!pool->stop) {
        job *j = find_job(pool);
        if (!j) {
            int seen = __atomic_load_n(&pool->serial, __ATOMIC_RELAXED);
            pthread_mutex_unlock(&pool->lock);
            for (int i = 0; i < SPINS && __atomic_load_n(&pool->serial, __ATOMIC_ACQUIRE) == seen; i++)
                relax();
            pthread_mutex_lock(&pool->lock);
            if (!pool->stop && !find_job(pool))
                pthread_cond_wait(&pool->posted, &pool->lock);
            continue;
        }
        j->inside++;
        pthread_mutex_unlock(&pool->lock);
        take_tasks(j);
        pthread_mutex_lock(&pool->lock);
        if (--j->inside == 0)
            pthread_cond_broadcast(&pool->finished);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static mf_pool *pool_create(mfrgn_context *context) {
    mf_pool *pool = mf_calloc(context, 1, sizeof(*pool));
    if (!pool)
        return NULL;
    pool->context = context;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->posted, NULL);
    pthread_cond_init(&pool->finished, NULL);
    return pool;
}

/* Under the lock.  Fewer threads than asked for are no error: the caller works too. */
static void grow(mf_pool *pool, int workers) {
    while (pool->workers < workers && pool->workers < MAX_WORKERS) {
        if (pthread_create(&pool->thread[pool->workers], NULL, work, pool))
            return;
        pool->workers++;
    }
}

static void run_job(mf_pool *pool, job *j) {
    pthread_mutex_lock(&pool->lock);
    grow(pool, j->tasks - 1);
    j->link = pool->first;
    pool->first = j;
    __atomic_add_fetch(&pool->serial, 1, __ATOMIC_RELEASE);
    if (j->tasks == 2)
        pthread_cond_signal(&pool->posted);
    else
        pthread_cond_broadcast(&pool->posted);
    pthread_mutex_unlock(&pool->lock);

    take_tasks(j);
    for (int i = 0; i < SPINS && __atomic_load_n(&j->done, __ATOMIC_ACQUIRE) < j->tasks; i++)
        relax();

    pthread_mutex_lock(&pool->lock);
    job **link = &pool->first;
    while (*link != j)
        link = &(*link)->link;
    *link = j->link;
    while (j->inside)
        pthread_cond_wait(&pool->finished, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void mf_parallel(mfrgn_context *context, int tasks, void (*task)(void *arg, int index), void *arg) {
    if (context->parallel.run && tasks > 1) {
        context->parallel.run(context->parallel.user, tasks, task, arg);
        return;
    }
    mf_pool *pool = NULL;
    if (tasks > 1) {
        pool = __atomic_load_n(&context->pool, __ATOMIC_ACQUIRE);
        if (!pool) {
            pthread_mutex_lock(&context->lock);
            if (!context->pool)
                __atomic_store_n(&context->pool, pool_create(context), __ATOMIC_RELEASE);
            pool = context->pool;
            pthread_mutex_unlock(&context->lock);
        }
    }
    job j = {task, arg, tasks, 0, 0, 0, NULL};
    if (pool)
        run_job(pool, &j);
    else
        take_tasks(&j);
}

void mf_pool_free(mfrgn_context *context, mf_pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    __atomic_add_fetch(&pool->serial, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&pool->posted);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->workers; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->posted);
    pthread_cond_destroy(&pool->finished);
    mf_free(context, pool);
}

int mf_core_count(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
#endif
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}
