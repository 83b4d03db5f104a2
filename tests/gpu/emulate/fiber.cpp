#include "tests/gpu/emulate/fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK = 256 * 1024 };

struct mfc_fiber {
    char *stack; /* its lowest byte */
    void (*body)(void *arg);
    void *arg;
    void *own, *scheduler; /* stack pointers while the other one runs */
#if !defined(__x86_64__) && !defined(__aarch64__)
    ucontext_t own_context, scheduler_context;
#endif
    const void *scheduler_stack; /* for AddressSanitizer */
    size_t scheduler_size;
    mfc_fiber *next;
};

static mfc_fiber *current; /* that begins */
static mfc_fiber *all;     /* kept to the end: no leak */

mfc_fiber *mfc_fiber_create(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    mfc_fiber *f = (mfc_fiber *)calloc(1, sizeof(*f));
    char *memory = (char *)mmap(NULL, STACK + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                                -1, 0);
    if (!f || memory == MAP_FAILED || mprotect(memory, page, PROT_NONE)) {
        fprintf(stderr, "emulator: no memory for a fiber\n");
        abort();
    }
    f->stack = memory + page;
    f->next = all;
    all = f;
    return f;
}

static void arrived(mfc_fiber *f, void *fake, int in_fiber) {
    (void)f, (void)fake, (void)in_fiber;
#if defined(__SANITIZE_ADDRESS__)
    if (in_fiber)
        __sanitizer_finish_switch_fiber(fake, &f->scheduler_stack, &f->scheduler_size);
    else
        __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

extern "C" __attribute__((used, visibility("hidden"))) void mfc_fiber_begin(void) {
    mfc_fiber *f = current;
    arrived(f, NULL, 1);
    f->body(f->arg);
    abort(); /* it was to leave */
}

/* void mfc_fiber_switch(void **save, void *to): pushes what a call keeps, changes stacks, pops. */
#if defined(__x86_64__)
extern "C" void mfc_fiber_switch(void **save, void *to) __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".hidden mfc_fiber_switch\n"
        ".globl mfc_fiber_switch\n"
        ".type mfc_fiber_switch,@function\n"
        "mfc_fiber_switch:\n"
        "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
        "ret\n"
        ".size mfc_fiber_switch,.-mfc_fiber_switch\n");

static void prepare_stack(mfc_fiber *f) {
    uintptr_t *top = (uintptr_t *)(f->stack + STACK);
    *--top = 0; /* as a call would leave it: 16-byte aligned, less 8 */
    *--top = (uintptr_t)mfc_fiber_begin;
    for (int i = 0; i < 6; i++)
        *--top = 0;
    f->own = top;
}
#elif defined(__aarch64__)
extern "C" void mfc_fiber_switch(void **save, void *to) __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".hidden mfc_fiber_switch\n"
        ".globl mfc_fiber_switch\n"
        ".type mfc_fiber_switch,%function\n"
        "mfc_fiber_switch:\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp, #0]\n stp x21, x22, [sp, #16]\n stp x23, x24, [sp, #32]\n stp x25, x26, [sp, #48]\n"
        "stp x27, x28, [sp, #64]\n stp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\n stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n stp d14, d15, [sp, #144]\n"
        "mov x9, sp\n str x9, [x0]\n mov sp, x1\n"
        "ldp x19, x20, [sp, #0]\n ldp x21, x22, [sp, #16]\n ldp x23, x24, [sp, #32]\n ldp x25, x26, [sp, #48]\n"
        "ldp x27, x28, [sp, #64]\n ldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\n ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n ldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\n"
        "ret\n"
        ".size mfc_fiber_switch,.-mfc_fiber_switch\n");

static void prepare_stack(mfc_fiber *f) {
    uintptr_t *top = (uintptr_t *)(f->stack + STACK) - 20;
    for (int i = 0; i < 20; i++)
        top[i] = 0;
    top[11] = (uintptr_t)mfc_fiber_begin; /* x30 */
    f->own = top;
}
#else
static void prepare_stack(mfc_fiber *f) {
    getcontext(&f->own_context);
    f->own_context.uc_stack.ss_sp = f->stack;
    f->own_context.uc_stack.ss_size = STACK;
    f->own_context.uc_link = NULL;
    makecontext(&f->own_context, mfc_fiber_begin, 0);
}
#endif

void mfc_fiber_prime(mfc_fiber *f, void (*body)(void *arg), void *arg) {
    f->body = body;
    f->arg = arg;
    prepare_stack(f);
}

void mfc_fiber_enter(mfc_fiber *f) {
    void *fake = NULL;
    current = f;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake, f->stack, STACK);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    mfc_fiber_switch(&f->scheduler, f->own);
#else
    swapcontext(&f->scheduler_context, &f->own_context);
#endif
    arrived(f, fake, 0);
}

void mfc_fiber_leave(mfc_fiber *f) {
    void *fake = NULL;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake, f->scheduler_stack, f->scheduler_size);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    mfc_fiber_switch(&f->own, f->scheduler);
#else
    swapcontext(&f->own_context, &f->scheduler_context);
#endif
    arrived(f, fake, 1);
}
