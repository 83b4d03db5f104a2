/* Fibers: stacks that are switched by hand on x86-64 and 64-bit Arm, and by ucontext elsewhere. */
#ifndef MFRGN_TESTS_GPU_FIBER_H
#define MFRGN_TESTS_GPU_FIBER_H

typedef struct mfc_fiber mfc_fiber;

mfc_fiber *mfc_fiber_create(void); /* has a stack, and a guard below it; never freed: there is a pool */
/* The fiber will begin with body(arg), which must end with mfc_fiber_leave(). */
void mfc_fiber_prime(mfc_fiber *fiber, void (*body)(void *arg), void *arg);
void mfc_fiber_enter(mfc_fiber *fiber); /* from the scheduler; returns when the fiber leaves */
void mfc_fiber_leave(mfc_fiber *fiber); /* from the fiber, back to the scheduler */

#endif
