/*
 * PID 1 of a test guest, statically linked: takes it from the initrd to the root disk. When the kernel command line says
 * `vmm_init=PROGRAM`, that is PID 1 from then on. Otherwise it starts qemu-ga and, when the command line says
 * `vmm_agent="ARGS"`, the agent's supervisor; then reaps, and obeys busybox's poweroff and reboot. In C because a shell
 * script needs seconds for the same on an emulated processor.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QGA_PORT "org.qemu.guest_agent.0"

static void fail(const char *what) {
    fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

static void mount_or_fail(const char *source, const char *target, const char *type, unsigned long flags) {
    mkdir(target, 0755);
    if (mount(source, target, type, flags, NULL) < 0) fail(target);
}

static void use_console(void) {
    int fd = open("/dev/console", O_RDWR);
    if (fd < 0) return;
    for (int target = 0; target < 3; target++) dup2(fd, target);
    if (fd > 2) close(fd);
}

/* /modules names the files of the initrd's modules in the order of their dependencies. */
static void load_modules(void) {
    FILE *list = fopen("/modules", "r");
    char name[256];
    if (!list) fail("/modules");
    while (fscanf(list, "%255s", name) == 1) {
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)) fail(name);
        close(fd);
    }
    fclose(list);
}

static void wait_for_device(const char *path) {
    struct timespec pause = {0, 10 * 1000 * 1000};
    for (int tries = 0; access(path, F_OK) < 0; tries++) {
        if (tries == 1000) fail(path);
        nanosleep(&pause, NULL);
    }
}

/* Until a system's first boot its machine-id is an empty file, see machine-id(5). */
static int was_never_booted(void) {
    struct stat info;
    return stat("/root/etc/machine-id", &info) == 0 && info.st_size == 0;
}

/* What a test wants on the disk before its first boot. */
static void add_files(void) {
    int status = -1;
    pid_t pid;
    if (access("/files", F_OK) < 0 || !was_never_booted()) return;
    pid = fork();
    if (pid == 0) {
        execl("/busybox", "busybox", "cp", "-a", "/files/.", "/root/", NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) < 0 || status != 0) fail("/files");
}

static void enter_root_disk(void) {
    const char *kept[] = {"/proc", "/sys", "/dev"};
    char target[64];
    wait_for_device("/dev/vda");
    mount_or_fail("/dev/vda", "/root", "ext4", 0);
    add_files();
    for (int i = 0; i < 3; i++) {
        snprintf(target, sizeof target, "/root%s", kept[i]);
        if (mount(kept[i], target, NULL, MS_MOVE, NULL) < 0) fail(target);
    }
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) fail("/root");
}

static void mount_bundles(void) {
    wait_for_device("/dev/vdb");
    mount_or_fail("/dev/vdb", "/usr/lib/vmmessage", "ext4", MS_RDONLY);
}

/* With the signal mask and the environment that a kernel starts it with. */
static void become(char *program) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(program, (char *[]){program, NULL}, (char *[]){"HOME=/", "TERM=linux", NULL});
    fail(program);
}

static void mount_the_rest(void) {
    mount_or_fail("devpts", "/dev/pts", "devpts", 0);
    mount_or_fail("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV);
    mount_or_fail("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV);
    mount_or_fail("tmpfs", "/mnt/tmpfs", "tmpfs", 0);
    chmod("/tmp", 01777);
}

static pid_t start(const char *log, char *const argv[]) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    int in = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(in, 0), dup2(out, 1), dup2(out, 2);
    execv(argv[0], argv);
    _exit(127);
}

/* There is no udev in the guest: a port is found by its name in sysfs. */
static int find_port(const char *wanted, char *device, size_t size) {
    DIR *ports = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int found = 0;
    while (ports && !found && (entry = readdir(ports))) {
        char path[512], name[128] = "";
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        found = fscanf(file, "%127s", name) == 1 && strcmp(name, wanted) == 0;
        if (found) snprintf(device, size, "/dev/%s", entry->d_name);
        fclose(file);
    }
    if (ports) closedir(ports);
    return found;
}

static pid_t start_qga(void) {
    char device[300];
    if (!find_port(QGA_PORT, device, sizeof device)) return 0;
    return start("/run/qemu-ga.log", (char *[]){"/usr/bin/qemu-ga", "-m", "virtio-serial", "-p", device, "-t", "/run",
                                                "-f", "/run/qemu-ga.pid", NULL});
}

/* The kernel hands parameters it does not know to init as its environment. */
static void start_agent_service(void) {
    const char *args = getenv("vmm_agent");
    if (!args) return;
    FILE *file = fopen("/run/agent-service.args", "w");
    if (!file || fprintf(file, "%s\n", args) < 0 || fclose(file) != 0) fail("/run/agent-service.args");
    close(open("/run/agent-service.enabled", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    start("/run/agent.log", (char *[]){"/usr/bin/agent-service", "run", NULL});
}

/* Orphans become children of PID 1, so no children means no processes. */
static int has_children(void) {
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) continue;
    return pid == 0;
}

static void end_processes(void) {
    struct timespec second = {1, 0};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    kill(-1, SIGTERM);
    for (int seconds = 0; seconds < 5 && has_children();)
        if (sigtimedwait(&child, NULL, &second) < 0) seconds++;
    kill(-1, SIGKILL);
}

static void shut_down(int how) {
    end_processes();
    sync();
    umount2("/usr/lib/vmmessage", MNT_DETACH);
    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    reboot(how);
}

int main(void) {
    sigset_t awaited;
    pid_t qga;
    sigfillset(&awaited);
    sigprocmask(SIG_SETMASK, &awaited, NULL);

    mount_or_fail("devtmpfs", "/dev", "devtmpfs", 0);
    use_console();
    if (getenv("vmm_probe")) fail("probed");
    mount_or_fail("proc", "/proc", "proc", 0);
    mount_or_fail("sysfs", "/sys", "sysfs", 0);
    load_modules();
    enter_root_disk();
    mount_bundles();
    if (getenv("vmm_init")) become(getenv("vmm_init"));
    mount_the_rest();
    sethostname("guest", 5);
    setenv("PATH", "/usr/bin", 1);
    setenv("HOME", "/root", 1);

    qga = start_qga();
    start_agent_service();
    for (;;) {
        int signal_number = sigwaitinfo(&awaited, NULL);
        if (signal_number == SIGTERM) shut_down(RB_AUTOBOOT);
        if (signal_number == SIGUSR1 || signal_number == SIGUSR2) shut_down(RB_POWER_OFF);
        for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
            if (pid == qga) qga = start_qga();
    }
}
