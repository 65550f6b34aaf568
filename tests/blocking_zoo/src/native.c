/* A C library whose functions block their caller. */
#define _DEFAULT_SOURCE
#include <sys/wait.h>
#include <unistd.h>

/* Prevents the compiler from turning the preceding call into a jump. */
static volatile int done;

void native_sleep(unsigned microseconds) {
    usleep(microseconds); // BLOCKS: sleep usleep
    done = 1;
}

/* Both calls become jumps. */
static __attribute__((noinline)) int wait_longer(unsigned microseconds) {
    return usleep(microseconds + 1); // BLOCKS: sleep usleep
}

void native_tail_call(unsigned microseconds) {
    wait_longer(microseconds + 1);
}

/* The parent of a vfork waits in a state that no signal interrupts. */
void native_vfork(unsigned microseconds) {
    pid_t child = vfork(); // BLOCKS: child vfork
    if (child == 0) {
        usleep(microseconds);
        _exit(0);
    }
    waitpid(child, 0, 0);
    done = 1;
}
