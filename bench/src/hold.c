/*
 * Runs a server as one tree of processes: hold [--bind FROM TO]... -- COMMAND...
 *
 * What loses its parent comes here, so that its time is counted and it ends with the rest. The binds are seen by
 * this tree alone. Each line of the standard input is one more command for the shell, run beside the server; the end
 * of the input, SIGTERM, or the end of the server ends them all. It starts as root, for the binds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 10 };

static sigset_t watched;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static pid_t start(char **argv)
{
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	sigprocmask(SIG_UNBLOCK, &watched, NULL);
	/* In a group of its own: some servers signal theirs when they end. */
	setpgid(0, 0);
	freopen("/dev/null", "r", stdin);
	execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

static void signal_children(int number)
{
	char path[64];
	int pid;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *children = fopen(path, "r");
	if (!children)
		return;
	while (fscanf(children, "%d", &pid) == 1)
		kill(pid, number);
	fclose(children);
}

/* Reaps who has ended; is there still a child? */
static int reap(pid_t server, int *ended)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == server)
			*ended = 1;
	return pid == 0;
}

/* Asks nicely, then not, until nobody is left: the orphans of one round are children in the next. */
static void end_all(pid_t server, int ended)
{
	struct timespec pause = {.tv_nsec = 50000000};
	if (!ended)
		kill(server, SIGTERM);
	for (int round = 0; reap(server, &ended); round++) {
		if (round >= PATIENCE * 20)
			signal_children(SIGKILL);
		else if (ended)
			signal_children(SIGTERM);
		nanosleep(&pause, NULL);
	}
}

static void run_lines(char *buffer, size_t *held)
{
	char *line = buffer, *end;
	while ((end = memchr(line, '\n', buffer + *held - line))) {
		*end = 0;
		start((char *[]){"sh", "-c", line, NULL});
		line = end + 1;
	}
	*held -= line - buffer;
	memmove(buffer, line, *held);
}

static void watch(pid_t server, int signals)
{
	static char buffer[65536];
	size_t held = 0;
	int ended = 0;
	struct pollfd watching[] = {{.fd = 0, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	while (!ended && poll(watching, 2, -1) > 0) {
		if (watching[1].revents) {
			struct signalfd_siginfo got;
			if (read(signals, &got, sizeof got) == sizeof got && got.ssi_signo != SIGCHLD)
				break;
			reap(server, &ended);
		}
		if (watching[0].revents) {
			ssize_t more = read(0, buffer + held, sizeof buffer - held);
			if (more <= 0)
				break;
			held += more;
			run_lines(buffer, &held);
		}
	}
	end_all(server, ended);
}

int main(int argc, char **argv)
{
	int at = 1;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("subreaper");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("a mount namespace of its own");
	for (; at + 2 < argc && !strcmp(argv[at], "--bind"); at += 3)
		if (mount(argv[at + 1], argv[at + 2], NULL, MS_BIND, NULL) < 0)
			die(argv[at + 2]);
	if (at + 1 >= argc || strcmp(argv[at], "--")) {
		fprintf(stderr, "usage: hold [--bind FROM TO]... -- COMMAND...\n");
		return 2;
	}
	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGINT);
	sigprocmask(SIG_BLOCK, &watched, NULL);
	int signals = signalfd(-1, &watched, SFD_CLOEXEC);
	if (signals < 0)
		die("signalfd");
	watch(start(argv + at + 1), signals);
	return 0;
}
