// The filter's job for user-mode sockets on Linux: a cgroup/setsockopt hook with a state for each socket, a policy, counters for each
// processor and, in `audited`, a record of 128 bytes in a ring.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct state {
	__u64 decided;
	__u32 last;
	__u32 rule;
};

struct option {
	__u32 level;
	__u32 name;
};

struct rule {
	__u32 index;
	__u32 min;
	__u32 max;
	__u32 spare;
};

struct record {
	__u64 time;
	__u64 socket;
	__u64 old_value;
	__u64 asked_value;
	__u64 new_value;
	__u32 level;
	__u32 code;
	__u32 rule;
	__u32 family;
	__u8 rest[72];
};
_Static_assert(sizeof(struct record) == 128, "as long as wskguard's");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct option);
	__type(value, struct rule);
} policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);

	if (counter)
		*counter += 1;
}

static __always_inline int decide(struct bpf_sockopt *ctx, int audit)
{
	struct option option = { ctx->level, ctx->optname };
	__u32 *value = ctx->optval;
	struct bpf_sock *sk = ctx->sk;
	struct state *state;
	struct rule *rule;
	struct record *record;
	__u32 asked, new, old;

	if (!sk || (void *)(value + 1) > (void *)ctx->optval_end)
		return 1;
	count(0);
	state = bpf_sk_storage_get(&states, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	rule = bpf_map_lookup_elem(&policy, &option);
	if (!state || !rule)
		return 1;
	asked = *value;
	old = state->last;
	new = asked < rule->min ? rule->min : asked > rule->max ? rule->max : asked;
	*value = new;
	state->last = new;
	state->rule = rule->index;
	state->decided += 1;
	count(1);
	if (!audit)
		return 1;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count(2);
		return 1;
	}
	record->time = bpf_ktime_get_ns();
	record->socket = state->decided;
	record->old_value = old;
	record->asked_value = asked;
	record->new_value = new;
	record->level = option.level;
	record->code = option.name;
	record->rule = rule->index;
	record->family = sk->family;
	__builtin_memset(record->rest, 0, sizeof(record->rest));
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

SEC("cgroup/setsockopt")
int decided(struct bpf_sockopt *ctx)
{
	return decide(ctx, 0);
}

SEC("cgroup/setsockopt")
int audited(struct bpf_sockopt *ctx)
{
	return decide(ctx, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
