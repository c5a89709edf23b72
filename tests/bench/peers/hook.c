// Times setsockopt on 64 sockets in turn: bare, and with the hook of hook.bpf.c attached to the cgroup that this process enters.
// Usage: hook OBJECT CGROUP ROUNDS, as root. Prints a row per line: name, value, unit.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOCKETS = 64, CALLS = 8192, MOST_ROUNDS = 1000 };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int compare(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

static double median(double *values, int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

// Nanoseconds a call: the median of stretches that are short enough for most not to be interrupted.
static double measure(const int *sockets)
{
	enum { STRETCH = 64 };
	static double times[CALLS / STRETCH];

	for (int stretch = 0; stretch < CALLS / STRETCH; stretch++) {
		double start = now();

		for (int call = 0; call < STRETCH; call++) {
			int value = call & 1;

			if (setsockopt(sockets[call % SOCKETS], SOL_SOCKET, SO_KEEPALIVE, &value, sizeof(value)))
				fail("setsockopt");
		}
		times[stretch] = (now() - start) / STRETCH;
	}
	return median(times, CALLS / STRETCH);
}

static int discard(void *context, void *data, size_t size)
{
	(void)context, (void)data, (void)size;
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "decided", "audited" };
	static double bare[MOST_ROUNDS], extra[2][MOST_ROUNDS];
	struct { unsigned level, name; } option = { SOL_SOCKET, SO_KEEPALIVE };
	struct { unsigned index, min, max, spare; } rule = { 0, 0, 1, 0 };
	int sockets[SOCKETS], programs[2], rounds, cgroup;
	char path[4096];
	FILE *procs;

	if (argc != 4 || (rounds = atoi(argv[3])) < 1 || rounds > MOST_ROUNDS)
		return 2;
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	if (!object || bpf_object__load(object))
		fail("the hook does not load");
	for (int which = 0; which < 2; which++)
		programs[which] = bpf_program__fd(bpf_object__find_program_by_name(object, names[which]));
	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "policy"), &option, &rule, BPF_ANY))
		fail("policy");
	struct ring_buffer *ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), discard, NULL, NULL);
	if (!ring)
		fail("ring");
	snprintf(path, sizeof(path), "%s/cgroup.procs", argv[2]);
	procs = fopen(path, "w");
	if (!procs || fprintf(procs, "%d", getpid()) < 0 || fclose(procs))
		fail(path);
	cgroup = open(argv[2], O_RDONLY | O_DIRECTORY);
	for (int which = 0; which < SOCKETS; which++)
		sockets[which] = socket(AF_INET, SOCK_STREAM, 0);
	measure(sockets);
	for (int round = 0; round < rounds; round++) {
		bare[round] = measure(sockets);
		for (int which = 0; which < 2; which++) {
			if (bpf_prog_attach(programs[which], cgroup, BPF_CGROUP_SETSOCKOPT, 0))
				fail("attach");
			extra[which][round] = measure(sockets) - bare[round];
			if (bpf_prog_detach2(programs[which], cgroup, BPF_CGROUP_SETSOCKOPT))
				fail("detach");
			ring_buffer__consume(ring);
		}
	}
	printf("bpf/bare %.2f ns\n", median(bare, rounds));
	for (int which = 0; which < 2; which++)
		printf("bpf/%s-extra %.2f ns\n", names[which], median(extra[which], rounds));
	return 0;
}
