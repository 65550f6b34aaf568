/* A C library that blocks whoever calls it. */
#define _DEFAULT_SOURCE
#include <sys/wait.h>
#include <unistd.h>

/* Keeps the compiler from turning the call before into a jump. */
static volatile int done;

void native_nap(unsigned microseconds) {
    usleep(microseconds); // BLOCKS: sleep usleep
    done = 1;
}

/* The parent of a vfork waits where nothing interrupts it. */
void native_vfork(unsigned microseconds) {
    pid_t child = vfork(); // BLOCKS: child vfork
    if (child == 0) {
        usleep(microseconds);
        _exit(0);
    }
    waitpid(child, 0, 0);
    done = 1;
}
