/* Preloaded into QEMU by run.sh: QEMU's user networking listens on forwarded ports with a backlog of 1, so
 * that 50 clients which connect at once wait for the kernel's SYN retries, seconds and tens of seconds.
 * The kernel is asked directly, with the queue that a server is expected to have. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

enum { BACKLOG_MIN = 1024 };

int listen(int descriptor, int backlog)
{
    long wanted = backlog > BACKLOG_MIN ? backlog : BACKLOG_MIN;
    return (int)syscall(SYS_listen, descriptor, wanted);
}
