//! The logs.

/// An Oops of virtio_console, Linux 6.12 with its times.
pub(crate) const OOPS: &str = "\
[   12.102938] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   12.102941] #PF: supervisor read access in kernel mode
[   12.102943] #PF: error_code(0x0000) - not-present page
[   12.102945] PGD 0 P4D 0 
[   12.102951] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
[   12.102957] CPU: 1 UID: 0 PID: 71 Comm: init Not tainted 6.12.9-cloud-amd64 #1  Debian 6.12.9-1
[   12.102961] Hardware name:  , BIOS 
[   12.102963] RIP: 0010:free_buf+0x1a/0x110 [virtio_console]
[   12.102971] Code: 90 90 90 66 0f 1f 00 0f 1f 44 00 00 41 55 41 54 55 53 48 89 fb
[   12.102974] RSP: 0018:ffffb5d3c0137cf8 EFLAGS: 00010286
[   12.102977] RAX: 0000000000000000 RBX: 0000000000000000 RCX: 0000000000000000
[   12.102979] FS:  00007f3c1b0d5740(0000) GS:ffff9d403dd00000(0000) knlGS:0000000000000000
[   12.102982] CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
[   12.102984] CR2: 0000000000000008 CR3: 0000000003d0c000 CR4: 0000000000750ef0
[   12.102987] PKRU: 55555554
[   12.102988] Call Trace:
[   12.102990]  <TASK>
[   12.102992]  ? __die_body.cold+0x19/0x27
[   12.102997]  ? virtnet_poll+0x10/0x20 [virtio_net]
[   12.103001]  remove_vqs+0x8e/0xe0 [virtio_console]
[   12.103006]  virtcons_remove+0xa2/0x100 [virtio_console]
[   12.103011]  virtio_dev_remove+0x3f/0x90 [virtio]
[   12.103016]  device_release_driver_internal+0x19c/0x200
[   12.103020]  unbind_store+0xa1/0xb0
[   12.103024]  entry_SYSCALL_64_after_hwframe+0x76/0x7e
[   12.103030] RIP: 0033:0x7f3c1b1d8300
[   12.103033]  </TASK>
[   12.103034] Modules linked in: virtio_net net_failover failover virtio_blk virtio_console virtio_pci
[   12.103046] CR2: 0000000000000008
[   12.103048] ---[ end trace 0000000000000000 ]---
[   12.103050] RIP: 0010:free_buf+0x1a/0x110 [virtio_console]
[   12.103060] RSP: 0018:ffffb5d3c0137cf8 EFLAGS: 00010286
[   12.103070] note: init[71] exited with irqs disabled
";

/// The panic that follows it, at the same time.
pub(crate) const PANIC: &str = "\
[   12.104000] Kernel panic - not syncing: Fatal exception
[   12.104100] Kernel Offset: 0x1e00000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)
[   12.104200] ---[ end Kernel panic - not syncing: Fatal exception ]---
";

/// A warning of somebody else's, Linux 5.10: without `<TASK>`, and judged modules are linked in.
pub(crate) const FOREIGN_WARNING: &str = "\
[    3.000100] ------------[ cut here ]------------
[    3.000101] WARNING: CPU: 0 PID: 1 at fs/ext4/super.c:123 ext4_fill_super+0x11/0x22 [ext4]
[    3.000102] Modules linked in: ext4 virtio_net virtio_blk virtio_console virtio_rng virtio_pci virtio_ring virtio
[    3.000103] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 5.10.0-28-cloud-amd64 #1 Debian 5.10.209-2
[    3.000104] RIP: 0010:ext4_fill_super+0x11/0x22 [ext4]
[    3.000105] Code: 0f 0b 48 c7 c7
[    3.000106] RSP: 0018:ffffa3c940013e20 EFLAGS: 00010282
[    3.000107] Call Trace:
[    3.000108]  ? virtblk_probe+0x1/0x2 [virtio_blk]
[    3.000109]  mount_bdev+0x1a/0x1d0
[    3.000110]  do_syscall_64+0x33/0x40
[    3.000111] ---[ end trace 8d1f0e1a2b3c4d5e ]---
";

/// A reference count, Linux 6.1.
pub(crate) const REFCOUNT: &str = "\
[    9.500000] ------------[ cut here ]------------
[    9.500001] refcount_t: underflow; use-after-free.
[    9.500002] WARNING: CPU: 1 PID: 12 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
[    9.500003] Modules linked in: virtio_console
[    9.500004] CPU: 1 PID: 12 Comm: kworker/1:0 Not tainted 6.1.0-18-cloud-amd64 #1  Debian 6.1.76-1
[    9.500005] Workqueue: events release_one_tty
[    9.500006] RIP: 0010:refcount_warn_saturate+0xba/0x110
[    9.500007] Call Trace:
[    9.500008]  <TASK>
[    9.500009]  release_one_tty+0x85/0xe0
[    9.500010]  process_one_work+0x1c7/0x380
[    9.500011]  kthread+0xda/0x100
[    9.500012]  ret_from_fork+0x22/0x30
[    9.500013]  </TASK>
[    9.500014] ---[ end trace 0000000000000000 ]---
";

/// The same, Linux 6.19 and newer: the message stands after the warning.
pub(crate) const NEW_REFCOUNT: &str = "\
[    9.500000] ------------[ cut here ]------------
[    9.500002] WARNING: lib/refcount.c:28 at refcount_warn_saturate+0xba/0x110, CPU#1: kworker/1:0/12
[    9.500003] refcount_t: underflow; use-after-free.
[    9.500004] Modules linked in: virtio_console
[    9.500005] CPU: 1 UID: 0 PID: 12 Comm: kworker/1:0 Not tainted 7.3.4-cloud-amd64 #1 PREEMPT(lazy)  Debian 7.3.4-1
[    9.500006] RIP: 0010:refcount_warn_saturate+0xba/0x110
[    9.500007] Call Trace:
[    9.500008]  <TASK>
[    9.500009]  release_one_tty+0x85/0xe0
[    9.500013]  </TASK>
[    9.500014] ---[ end trace 0000000000000000 ]---
";

/// SLUB, Linux 6.1 with slub_debug.
pub(crate) const SLUB: &str = "\
[    7.000001] =============================================================================
[    7.000002] BUG kmalloc-512 (Not tainted): Poison overwritten
[    7.000003] -----------------------------------------------------------------------------

[    7.000004] 0xffff9d4003c12c00-0xffff9d4003c12c03 @offset=11264. First byte 0x0 instead of 0x6b
[    7.000005] Allocated in hvc_alloc+0x4c/0x2e0 age=812 cpu=1 pid=71
[    7.000006]  __kmem_cache_alloc_node+0x1c5/0x320
[    7.000007]  hvc_alloc+0x4c/0x2e0
[    7.000008]  init_port_console+0x6a/0x120 [virtio_console]
[    7.000009] Freed in tty_port_put+0x2a/0x50 age=3 cpu=0 pid=71
[    7.000010]  __kmem_cache_free+0x2a8/0x310
[    7.000011] Slab 0xfffff0e4400f0480 objects=21 used=21 fp=0x0000000000000000 flags=0xfffffc0010200
[    7.000012] Object 0xffff9d4003c12c00 @offset=11264 fp=0x0000000000000000
[    7.000013] Redzone  ffff9d4003c12a00: bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb  ................
[    7.000014] Object   ffff9d4003c12c00: 00 00 00 00 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b  ....kkkkkkkkkkkk
[    7.000015] Padding  ffff9d4003c12e90: 5a 5a 5a 5a 5a 5a 5a 5a                          ZZZZZZZZ
[    7.000016] CPU: 0 PID: 90 Comm: init Not tainted 6.1.0-18-cloud-amd64 #1  Debian 6.1.76-1
[    7.000017] Call Trace:
[    7.000018]  <TASK>
[    7.000019]  dump_stack_lvl+0x44/0x5c
[    7.000020]  check_bytes_and_report.cold+0x6e/0x83
[    7.000021]  __kmalloc_node_track_caller+0x4d/0x170
[    7.000022]  </TASK>
[    7.000023] Disabling lock debugging due to kernel taint
[    7.000024] FIX kmalloc-512: Restoring Poison 0xffff9d4003c12c00-0xffff9d4003c12c03=0x6b
";

/// A soft lockup, Linux 6.12: the watchdog's own interrupt stands above where the processor was.
pub(crate) const SOFT_LOCKUP: &str = "\
[   52.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [init:1]
[   52.000002] CPU#0 Utilization every 4000ms during lockup:
[   52.000003] \t#1: 100% system,\t  0% softirq,\t  1% hardirq,\t  0% idle
[   52.000004] Modules linked in: virtio_net virtio_console
[   52.000005] CPU: 0 UID: 0 PID: 1 Comm: init Tainted: G             L     6.12.9-cloud-amd64 #1
[   52.000006] Tainted: [L]=SOFTLOCKUP
[   52.000007] Hardware name:  , BIOS 
[   52.000008] RIP: 0010:virtqueue_get_buf_ctx_split+0x31/0x130 [virtio_ring]
[   52.000009] RSP: 0018:ffffb5d3c0013b18 EFLAGS: 00000246
[   52.000010] Call Trace:
[   52.000011]  <IRQ>
[   52.000012]  ? watchdog_timer_fn+0x1f6/0x280
[   52.000013]  ? asm_sysvec_apic_timer_interrupt+0x1a/0x20
[   52.000014]  </IRQ>
[   52.000015]  <TASK>
[   52.000016]  virtnet_send_command_reply+0xf4/0x170 [virtio_net]
[   52.000017]  virtnet_set_rx_mode+0x12c/0x2f0 [virtio_net]
[   52.000018]  do_syscall_64+0x82/0x190
[   52.000019]  </TASK>
";

/// A hung task, whose trace needs a log level of 7.
pub(crate) const HUNG_TASK: &str = "\
[  242.000001] INFO: task init:1 blocked for more than 120 seconds.
[  242.000002]       Not tainted 6.12.9-cloud-amd64 #1 Debian 6.12.9-1
[  242.000003] \"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.
[  242.000004] task:init            state:D stack:0     pid:1     tgid:1     ppid:0      flags:0x00004002
[  242.000005] Call Trace:
[  242.000006]  <TASK>
[  242.000007]  __schedule+0x3e0/0xb50
[  242.000008]  hwrng_unregister+0x9c/0x120
[  242.000009]  remove_common+0x23/0x50 [virtio_rng]
[  242.000010]  </TASK>
";

/// A stall of RCU with two processors.
pub(crate) const RCU_STALL: &str = "\
[   61.000001] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   61.000002] rcu: \t0-...!: (1 GPs behind) idle=0d4c/1/0x4000000000000000 softirq=101/102 fqs=0
[   61.000003] rcu: \t(detected by 1, t=5252 jiffies, g=-1003, q=6 ncpus=2)
[   61.000004] Sending NMI from CPU 1 to CPUs 0:
[   61.000005] NMI backtrace for cpu 0
[   61.000006] CPU: 0 PID: 71 Comm: init Not tainted 6.1.0-18-cloud-amd64 #1  Debian 6.1.76-1
[   61.000007] RIP: 0010:vp_notify+0x15/0x20 [virtio_pci]
[   61.000008] Call Trace:
[   61.000009]  <TASK>
[   61.000010]  virtqueue_notify+0x1c/0x40 [virtio_ring]
[   61.000011]  </TASK>
[   61.000012] rcu: rcu_preempt kthread starved for 5250 jiffies! g-1003 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=0
";

/// An interrupt that no handler took.
pub(crate) const NOBODY_CARED: &str = "\
[    4.000001] irq 26: nobody cared (try booting with the \"irqpoll\" option)
[    4.000002] CPU: 0 UID: 0 PID: 0 Comm: swapper/0 Not tainted 6.12.9-cloud-amd64 #1
[    4.000003] Call Trace:
[    4.000004]  <IRQ>
[    4.000005]  dump_stack_lvl+0x5d/0x80
[    4.000006]  __report_bad_irq+0x35/0xad
[    4.000007]  note_interrupt.cold+0xa/0x63
[    4.000008]  </IRQ>
[    4.000009] handlers:
[    4.000010] [<00000000b5b3a1f2>] vp_interrupt [virtio_pci]
[    4.000011] Disabling IRQ #26
";

/// A network interface that does not transmit, Linux 6.1.
pub(crate) const NET_WATCHDOG: &str = "\
[   15.000001] ------------[ cut here ]------------
[   15.000002] NETDEV WATCHDOG: eth0 (virtio_net): transmit queue 0 timed out
[   15.000003] WARNING: CPU: 0 PID: 0 at net/sched/sch_generic.c:525 dev_watchdog+0x207/0x210
[   15.000004] Modules linked in: virtio_net
[   15.000005] CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0-18-cloud-amd64 #1  Debian 6.1.76-1
[   15.000006] RIP: 0010:dev_watchdog+0x207/0x210
[   15.000007] Call Trace:
[   15.000008]  <IRQ>
[   15.000009]  call_timer_fn+0x27/0x130
[   15.000010]  </IRQ>
[   15.000011]  <TASK>
[   15.000012]  default_idle+0xa/0x20
[   15.000013]  </TASK>
[   15.000014] ---[ end trace 0000000000000000 ]---
";

/// The same, Linux 6.9 and newer.
pub(crate) const NEW_NET_WATCHDOG: &str = "\
[   15.000001] virtio_net virtio0 eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out 5120 ms
[   15.000002] virtio_net virtio0 eth0: TX timeout on queue: 0, sq: output.0, vq: 0x1, name: output.0, 5120000 usecs ago
";

/// KASAN: whose memory it was stands after the trace of who used it.
pub(crate) const KASAN: &str = "\
[    8.000001] ==================================================================
[    8.000002] BUG: KASAN: slab-use-after-free in skb_put+0x11/0x22
[    8.000003] Read of size 8 at addr ffff888003c12c00 by task init/71
[    8.000004] CPU: 0 UID: 0 PID: 71 Comm: init Not tainted 6.12.9 #1
[    8.000005] Call Trace:
[    8.000006]  <TASK>
[    8.000007]  dump_stack_lvl+0x5d/0x80
[    8.000008]  print_report+0x171/0x4f0
[    8.000009]  </TASK>
[    8.000010] Allocated by task 71:
[    8.000011]  kasan_save_stack+0x30/0x50
[    8.000012]  receive_buf+0x44/0x88 [virtio_net]
[    8.000013] Freed by task 71:
[    8.000014]  kfree+0x109/0x3a0
[    8.000015] The buggy address belongs to the object at ffff888003c12c00
[    8.000016]  which belongs to the cache kmalloc-512 of size 512
[    8.000017] Memory state around the buggy address:
[    8.000018]  ffff888003c12b80: fc fc fc fc fc fc fc fc fc fc fc fc fc fc fc fc
[    8.000019] >ffff888003c12c00: fa fb fb fb fb fb fb fb fb fb fb fb fb fb fb fb
[    8.000020] ==================================================================
[    8.000021] Disabling lock debugging due to kernel taint
";

/// UBSAN, Linux 5.10.
pub(crate) const UBSAN: &str = "\
[    8.000001] ================================================================================
[    8.000002] UBSAN: array-index-out-of-bounds in drivers/net/virtio_net.c:123:4
[    8.000003] index 4 is out of range for type 'int [4]'
[    8.000004] CPU: 0 PID: 71 Comm: init Not tainted 5.10.0 #1
[    8.000005] Call Trace:
[    8.000006]  dump_stack+0x6b/0x83
[    8.000007]  virtnet_probe+0x8e/0xe0 [virtio_net]
[    8.000008] ================================================================================
";

/// Lockdep.
pub(crate) const LOCKDEP: &str = "\
[    8.000001] ======================================================
[    8.000002] WARNING: possible circular locking dependency detected
[    8.000003] 6.12.9 #1 Not tainted
[    8.000004] ------------------------------------------------------
[    8.000005] init/71 is trying to acquire lock:
[    8.000006] ffff888003c12c00 (&vi->refill_lock){+.+.}-{3:3}, at: virtnet_close+0x2e/0x90 [virtio_net]
[    8.000007] but task is already holding lock:
[    8.000008] ffffffff8b2c1d08 (rtnl_mutex){+.+.}-{4:4}, at: devinet_ioctl+0x4a/0x900
[    8.000009] the existing dependency chain (in reverse order) is:
[    8.000010] -> #1 (rtnl_mutex){+.+.}-{4:4}:
[    8.000011]        __mutex_lock+0xb4/0xe60
[    8.000012] stack backtrace:
[    8.000013] CPU: 0 UID: 0 PID: 71 Comm: init Not tainted 6.12.9 #1
[    8.000014] Call Trace:
[    8.000015]  <TASK>
[    8.000016]  check_noncircular+0x133/0x150
[    8.000017]  </TASK>
";

/// `BUG` in a built-in driver, Linux 6.12.
pub(crate) const BUG: &str = "\
[    8.000001] ------------[ cut here ]------------
[    8.000002] kernel BUG at drivers/virtio/virtio_ring.c:681!
[    8.000003] Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI
[    8.000004] CPU: 0 UID: 0 PID: 71 Comm: init Not tainted 6.12.9 #1
[    8.000005] RIP: 0010:virtqueue_add_split+0x5d/0x640
[    8.000006] Call Trace:
[    8.000007]  <TASK>
[    8.000008]  virtqueue_add_sgs+0x84/0xa0
[    8.000009]  virtblk_add_req+0x88/0x1a0
[    8.000010]  </TASK>
[    8.000011] ---[ end trace 0000000000000000 ]---
";

/// A general protection fault, Linux 5.10.
pub(crate) const PROTECTION_FAULT: &str = "\
[    8.000001] general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP PTI
[    8.000002] CPU: 0 PID: 71 Comm: init Not tainted 5.10.0-28-cloud-amd64 #1 Debian 5.10.209-2
[    8.000003] RIP: 0010:detach_buf_split+0x65/0x150 [virtio_ring]
[    8.000004] Call Trace:
[    8.000005]  virtqueue_detach_unused_buf+0x44/0x60 [virtio_ring]
[    8.000006] Modules linked in: virtio_console virtio_ring
[    8.000007] ---[ end trace 8d1f0e1a2b3c4d5e ]---
";
