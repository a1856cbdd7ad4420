// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Gives every received IP packet the footprint that XenoLinux gave it in 2004: its network frontend
 * took each packet's data from a slab of whole pages, which a constructor zeroed, however few bytes
 * had come. Only the footprint is that of 2004; packets stay where the driver put them.
 *
 * Loaded, it is at work; unloaded, all is as before.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>

static unsigned int footprint = PAGE_SIZE;
module_param(footprint, uint, 0444);
MODULE_PARM_DESC(footprint,
		 "bytes of data accounted for each packet, at least [a page]; 0: as they are");

static bool scrub = true;
module_param(scrub, bool, 0444);
MODULE_PARM_DESC(scrub, "zero a page for each packet [1]");

static char *interface = "";
module_param(interface, charp, 0444);
MODULE_PARM_DESC(interface, "look at packets of this interface alone [all]");

/* Bounds what a packet of 64 KiB in segments of its smallest size can be made to account. */
#define MAX_FOOTPRINT (64 * 1024)
#define MAX_TRUESIZE (16 * 1024 * 1024)

/* As many as the frontend had in its ring: no packet's page is still in a small cache. */
#define RING_PAGES 256

struct ring {
	unsigned int next;
	void *pages[RING_PAGES];
};

static DEFINE_PER_CPU(struct ring, rings);

/* The name that this had in XenoLinux's slab. */
static noinline void skbuff_ctor(void)
{
	struct ring *ring = this_cpu_ptr(&rings);

	clear_page(ring->pages[ring->next]);
	ring->next = (ring->next + 1) % RING_PAGES;
}

/*
 * Receive offloads have merged packets by now: gso_segs are those that came. What a Xen frontend
 * gets merged already has none yet (xennet_set_skb_gso(), drivers/net/xen-netfront.c, Linux 6.1).
 */
static unsigned int packets_in(const struct sk_buff *skb)
{
	if (skb_shinfo(skb)->gso_segs)
		return skb_shinfo(skb)->gso_segs;
	if (skb_is_gso(skb))
		return DIV_ROUND_UP(skb->len, skb_shinfo(skb)->gso_size);
	return 1;
}

/* truesize belongs to this sk_buff alone, whether or not its data are shared with clones. */
static void account(struct sk_buff *skb, unsigned int packets)
{
	u64 truesize = (u64)packets * (footprint + SKB_DATA_ALIGN(sizeof(struct sk_buff)));

	/* One who was charged with truesize will be given back what it is then. */
	if (!footprint || skb->destructor)
		return;
	skb->truesize = max_t(u64, skb->truesize, min_t(u64, truesize, MAX_TRUESIZE));
}

/*
 * Ahead of routing no socket has been charged with the packet yet. What comes after adds truesize
 * up as it finds it, but for skb_condense() (net/core/skbuff.c, Linux 6.1), which computes it anew
 * for a packet with all its data in the head that waits for a socket in use.
 */
static unsigned int received(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	unsigned int packets = packets_in(skb);
	unsigned int i;

	if (*interface && strcmp(state->in->name, interface))
		return NF_ACCEPT;
	account(skb, packets);
	/* Hooks of received packets run with soft interrupts off: the ring is this CPU's. */
	if (scrub)
		for (i = 0; i < packets; i++)
			skbuff_ctor();
	return NF_ACCEPT;
}

static const struct nf_hook_ops hook = {
	.hook = received,
	.pf = NFPROTO_INET,
	.hooknum = NF_INET_PRE_ROUTING,
	.priority = NF_IP_PRI_FIRST,
};

static int __net_init begin_net(struct net *net)
{
	return nf_register_net_hook(net, &hook);
}

static void __net_exit end_net(struct net *net)
{
	nf_unregister_net_hook(net, &hook);
}

static struct pernet_operations every_net = {
	.init = begin_net,
	.exit = end_net,
};

static void free_rings(void)
{
	int cpu;
	int i;

	for_each_possible_cpu(cpu)
		for (i = 0; i < RING_PAGES; i++)
			free_page((unsigned long)per_cpu(rings, cpu).pages[i]);
}

static int allocate_rings(void)
{
	int cpu;
	int i;

	for_each_possible_cpu(cpu)
		for (i = 0; i < RING_PAGES; i++) {
			void *page = (void *)__get_free_page(GFP_KERNEL);

			per_cpu(rings, cpu).pages[i] = page;
			if (!page)
				return -ENOMEM;
		}
	return 0;
}

static int __init xenolinux_rx_init(void)
{
	int error = 0;

	if (footprint > MAX_FOOTPRINT) {
		pr_err("a footprint of %u bytes is more than %d\n", footprint, MAX_FOOTPRINT);
		return -EINVAL;
	}
	if (scrub)
		error = allocate_rings();
	if (!error)
		error = register_pernet_subsys(&every_net);
	if (error)
		free_rings();
	return error;
}

static void __exit xenolinux_rx_exit(void)
{
	unregister_pernet_subsys(&every_net);
	/* For a hook that still runs. */
	synchronize_net();
	free_rings();
}

module_init(xenolinux_rx_init);
module_exit(xenolinux_rx_exit);

MODULE_DESCRIPTION("Received packets with the footprint they had in XenoLinux");
MODULE_LICENSE("GPL");
