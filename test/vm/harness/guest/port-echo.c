/* Echoes what a virtio-serial port brings, with blocking calls: the floor that an agent's latency is measured against. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ABSENT_PAUSE_MS 20 /* with no host, read answers 0 at once and poll is always ready: look again this often */

static int fail(const char *path, const char *what) {
    fprintf(stderr, "port-echo: %s %s: %s\n", what, path, strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    char bytes[32 * 1024];
    if (argc != 2) return fprintf(stderr, "usage: port-echo /dev/vportNpM\n"), 3;
    int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    if (fd < 0) return fail(argv[1], "open");
    for (;;) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got < 0) return fail(argv[1], "read");
        if (got == 0) poll(NULL, 0, ABSENT_PAUSE_MS);
        for (ssize_t done = 0, written; done < got; done += written)
            if ((written = write(fd, bytes + done, got - done)) < 0) return fail(argv[1], "write");
    }
}
