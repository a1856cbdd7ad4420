/* SPDX-License-Identifier: GPL-2.0-or-later */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM xenoprof

#if !defined(XENOPROF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define XENOPROF_TRACE_H

#include <linux/tracepoint.h>

/* The fields are an interface: user space finds them by name in the event's format file. */
TRACE_EVENT(sample, TP_PROTO(u64 ip, u16 domain, u16 vcpu, u8 mode, u8 event, u8 exact),
	    TP_ARGS(ip, domain, vcpu, mode, event, exact),
	    TP_STRUCT__entry(__field(u64, ip) __field(u16, domain) __field(u16, vcpu)
				     __field(u8, mode) __field(u8, event) __field(u8, exact)),
	    TP_fast_assign(__entry->ip = ip; __entry->domain = domain; __entry->vcpu = vcpu;
			   __entry->mode = mode; __entry->event = event; __entry->exact = exact;),
	    TP_printk("ip=%llx domain=%u vcpu=%u mode=%u event=%u exact=%u", __entry->ip,
		      __entry->domain, __entry->vcpu, __entry->mode, __entry->event,
		      __entry->exact));

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE xenoprof_trace
#include <trace/define_trace.h>
