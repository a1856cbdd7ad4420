// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/record_parser.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "perf/record_fields.h"

namespace xenoprof::perf {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

struct TaskIds {
  std::int32_t pid;
  std::int32_t tid;
};

std::unexpected<Error> too_short(std::uint32_t type, std::size_t size) {
  return fail("a record of type {} has {} bytes, too few for what it should hold", type, size);
}

std::size_t words(std::uint64_t sample_type, std::uint64_t fields) {
  return kWord * static_cast<std::size_t>(std::popcount(sample_type & fields));
}

// The read values of a sample (linux/perf_event.h, enum perf_event_read_format).
bool skip_read_values(Bytes& payload, std::uint64_t format) {
  const std::uint64_t times =
      format & (PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
  constexpr std::uint64_t kFormatLost = 1u << 4;  // the headers of before Linux 6.0 lack it
  const std::uint64_t each = format & (PERF_FORMAT_ID | kFormatLost);
  std::uint64_t values = 1;
  if ((format & PERF_FORMAT_GROUP) != 0 && !take(payload, values)) {
    return false;
  }
  const std::uint64_t size = kWord * (1 + static_cast<std::uint64_t>(std::popcount(each)));
  return values <= payload.size() / size &&
         skip(payload, kWord * static_cast<std::uint64_t>(std::popcount(times)) + values * size);
}

bool skip_raw(Bytes& payload) {
  std::uint32_t size = 0;  // with it, the data end on a word's boundary
  return take(payload, size) && skip(payload, size);
}

// linux/perf_event.h: struct perf_branch_entry, three words each; its counters came with 6.8.
bool skip_branches(Bytes& payload, std::uint64_t branch_sample_type) {
  constexpr std::uint64_t kHardwareIndex = 1u << 17;
  constexpr std::uint64_t kCounters = 1u << 19;
  std::uint64_t count = 0;
  const bool counters = (branch_sample_type & kCounters) != 0;
  const std::size_t each = kWord * (counters ? 4 : 3);
  return take(payload, count) &&
         skip(payload, (branch_sample_type & kHardwareIndex) != 0 ? kWord : 0) &&
         count <= payload.size() / each && skip(payload, count * each);
}

bool take_bytes(Bytes& payload, std::uint64_t size, Bytes& taken) {
  taken = payload.first(std::min<std::uint64_t>(size, payload.size()));
  return skip(payload, size);
}

bool take_registers(Bytes& payload, UserStack& user) {
  std::uint64_t abi = 0;
  if (!take(payload, abi)) {
    return false;
  }
  user.narrow = abi == PERF_SAMPLE_REGS_ABI_32;
  return abi == PERF_SAMPLE_REGS_ABI_NONE ||
         take_bytes(payload, words(user.mask, ~std::uint64_t{0}), user.registers);
}

bool take_stack(Bytes& payload, UserStack& user) {
  std::uint64_t size = 0;
  std::uint64_t copied = 0;  // of the size; the rest means nothing
  if (!take(payload, size)) {
    return false;
  }
  if (size == 0) {
    return true;
  }
  if (!take_bytes(payload, size, user.stack) || !take(payload, copied)) {
    return false;
  }
  user.more_stack = copied >= size;
  user.stack = user.stack.first(std::min<std::uint64_t>(copied, size));
  return true;
}

std::vector<Attribute> attributes_of(const Layout& layout) {
  std::vector<Attribute> attributes(1 + layout.events.size());
  for (std::size_t i = 0; i < attributes.size(); ++i) {
    perf_event_attr attr = {};
    apply(layout, attr);
    attributes[i].sample_type = attr.sample_type;
    attributes[i].sample_regs_user = attr.sample_regs_user;
    attributes[i].sample_id_all = true;
    attributes[i].sideband = i == 0;
    attributes[i].ids = {kSidebandId + i};
  }
  return attributes;
}

}  // namespace

Result<Bytes> first_record(Bytes bytes) {
  perf_event_header header;
  Bytes rest = bytes;
  if (!take(rest, header)) {
    return fail("a record is cut off in its header");
  }
  // perf aligns every record to 8 bytes.
  if (header.size < sizeof header || header.size % 8 != 0) {
    return fail("a record of type {} says that it has {} bytes", std::uint32_t{header.type},
                std::uint16_t{header.size});
  }
  if (header.size > bytes.size()) {
    return fail("a record of type {} is cut off after {} of {} bytes", std::uint32_t{header.type},
                bytes.size(), std::uint16_t{header.size});
  }
  return bytes.first(header.size);
}

RecordParser::RecordParser(const Layout& layout) : RecordParser(attributes_of(layout)) {}

RecordParser::RecordParser(const std::vector<Attribute>& attributes) {
  std::size_t events = 0;
  for (const Attribute& attribute : attributes) {
    for (const std::uint64_t id : attribute.ids) {
      form_of_id_.emplace(id, static_cast<std::uint32_t>(forms_.size()));
    }
    forms_.push_back(form_of(attribute));
    forms_.back().event = attribute.sideband ? kNoEvent : events++;
  }
  if (attributes.empty()) {
    return;
  }
  const std::uint64_t type = attributes[0].sample_type;
  const bool at_ends = (type & PERF_SAMPLE_IDENTIFIER) != 0;
  if (at_ends || (type & PERF_SAMPLE_ID) != 0) {
    constexpr std::uint64_t kBefore =
        PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR;
    sample_id_ = sizeof(perf_event_header) + (at_ends ? 0 : words(type, kBefore));
    if (attributes[0].sample_id_all) {
      trailer_id_ = kWord + (at_ends ? 0 : words(type, PERF_SAMPLE_CPU | PERF_SAMPLE_STREAM_ID));
    }
  }
}

RecordParser::Form RecordParser::form_of(const Attribute& attribute) {
  const std::uint64_t type = attribute.sample_type;
  Form form{.sample_type = type,
            .read_format = attribute.read_format,
            .branch_sample_type = attribute.branch_sample_type,
            .sample_regs_user = attribute.sample_regs_user};
  form.time = words(type, PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID);
  if (attribute.sample_id_all) {
    constexpr std::uint64_t kAfterTime =
        PERF_SAMPLE_ID | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU | PERF_SAMPLE_IDENTIFIER;
    form.trailer = words(type, kAfterTime | PERF_SAMPLE_TID | PERF_SAMPLE_TIME);
    form.trailer_time = (type & PERF_SAMPLE_TIME) != 0 ? words(type, kAfterTime) + kWord : 0;
  }
  return form;
}

// As perf finds it (tools/perf/util/evlist.c of 6.1, evlist__event2evsel): the only event has all
// records, and what perf made itself while recording bears the identifier 0.
const RecordParser::Form* RecordParser::form(Bytes record) const {
  if (forms_.empty()) {
    return nullptr;
  }
  const auto header = value_at<perf_event_header>(record, 0);
  const bool sample = header.type == PERF_RECORD_SAMPLE;
  const std::size_t place = sample ? sample_id_ : trailer_id_;
  if (forms_.size() == 1 || place == 0 ||
      record.size() < (sample ? place + kWord : sizeof header + place)) {
    return &forms_[0];
  }
  const auto id = value_at<std::uint64_t>(record, sample ? place : record.size() - place);
  if (id == last_id_) {
    return &forms_[last_form_];
  }
  const auto found = form_of_id_.find(id);
  if (found == form_of_id_.end()) {
    return id == 0 || !sample ? &forms_[0] : nullptr;
  }
  last_id_ = id;
  last_form_ = found->second;
  return &forms_[last_form_];
}

std::optional<std::uint64_t> RecordParser::time_of(Bytes record) const {
  const Form* const form = this->form(record);
  const auto header = value_at<perf_event_header>(record, 0);
  if (header.type == PERF_RECORD_SAMPLE) {
    if (form == nullptr || form->event == kNoEvent) {
      return std::nullopt;
    }
    const std::size_t at = sizeof header + form->time;
    return (form->sample_type & PERF_SAMPLE_TIME) != 0 && record.size() >= at + kWord
               ? value_at<std::uint64_t>(record, at)
               : 0;
  }
  return form != nullptr && form->trailer_time != 0 &&
                 record.size() >= sizeof header + form->trailer
             ? value_at<std::uint64_t>(record, record.size() - form->trailer_time)
             : 0;
}

// The first `count` words of `bytes`, in place where they are aligned: perf aligns all records.
std::span<const std::uint64_t> RecordParser::words_at(Bytes bytes, std::size_t count) {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kWord == 0) {
    return {reinterpret_cast<const std::uint64_t*>(bytes.data()), count};
  }
  call_chain_.resize(count);
  if (count != 0) {
    std::memcpy(call_chain_.data(), bytes.data(), kWord * count);
  }
  return call_chain_;
}

Result<Record> RecordParser::parse_sample(std::uint16_t misc, Bytes record, Bytes payload) {
  const Form* const form = this->form(record);
  if (form == nullptr || form->event == kNoEvent) {
    return fail("a sample belongs to an event that was not announced");
  }
  const std::uint64_t type = form->sample_type;
  Result<Record> result;
  SampleRecord& sample = result->body.emplace<SampleRecord>();
  TaskIds task = {};
  bool whole = true;
  // The fields that are asked for, in the order of linux/perf_event.h.
  const auto field = [&](std::uint64_t bit, auto& value) {
    whole = whole && ((type & bit) == 0 || take(payload, value));
  };
  std::uint64_t unused = 0;
  struct {
    std::uint32_t cpu = 0;
    std::uint32_t reserved = 0;
  } cpu;
  field(PERF_SAMPLE_IDENTIFIER, unused);
  field(PERF_SAMPLE_IP, sample.ip);
  field(PERF_SAMPLE_TID, task);
  field(PERF_SAMPLE_TIME, result->time);
  field(PERF_SAMPLE_ADDR, unused);
  field(PERF_SAMPLE_ID, unused);
  field(PERF_SAMPLE_STREAM_ID, unused);
  field(PERF_SAMPLE_CPU, cpu);
  field(PERF_SAMPLE_PERIOD, sample.period);
  if ((type & PERF_SAMPLE_READ) != 0) {
    whole = whole && skip_read_values(payload, form->read_format);
  }
  if ((type & PERF_SAMPLE_CALLCHAIN) != 0) {
    std::uint64_t length = 0;
    whole = whole && take(payload, length) && length <= payload.size() / kWord;
    if (whole) {
      sample.call_chain = words_at(payload, static_cast<std::size_t>(length));
      skip(payload, kWord * length);
    }
  }
  // What follows is looked at for the user's stack alone: the record's size says where it ends.
  if (whole && (type & PERF_SAMPLE_STACK_USER) != 0 && (type & PERF_SAMPLE_REGS_USER) != 0) {
    UserStack& user = sample.user_stack.emplace(UserStack{.mask = form->sample_regs_user});
    whole = ((type & PERF_SAMPLE_RAW) == 0 || skip_raw(payload)) &&
            ((type & PERF_SAMPLE_BRANCH_STACK) == 0 ||
             skip_branches(payload, form->branch_sample_type)) &&
            take_registers(payload, user) && take_stack(payload, user);
  }
  if (!whole) {
    result = too_short(PERF_RECORD_SAMPLE, record.size());
    return result;
  }
  const unsigned mode = misc & PERF_RECORD_MISC_CPUMODE_MASK;
  sample.pid = task.pid;
  sample.tid = task.tid;
  sample.cpu = cpu.cpu;
  sample.event = form->event;
  sample.guest = mode == PERF_RECORD_MISC_GUEST_KERNEL || mode == PERF_RECORD_MISC_GUEST_USER;
  // The kernel always says; the sign of the address tells as well, and of a guest it alone tells
  // for sure: Linux 6.1 takes one mode for the other now and then.
  sample.user =
      mode == PERF_RECORD_MISC_USER ||
      ((sample.guest || mode == PERF_RECORD_MISC_CPUMODE_UNKNOWN) && (sample.ip >> 63) == 0);
  sample.hypervisor = mode == PERF_RECORD_MISC_HYPERVISOR;
  return result;
}

Result<Record> RecordParser::parse(Bytes record) {
  perf_event_header header;
  Bytes payload = record;
  if (!take(payload, header) || header.size != record.size()) {
    return fail("a record is cut off");
  }
  if (header.type == PERF_RECORD_SAMPLE) {
    return parse_sample(header.misc, record, payload);
  }

  const auto short_record = [&] { return too_short(header.type, record.size()); };
  Record result;
  // Records made by perf itself (64 and up) have no trailer; none of them means anything alone.
  if (header.type >= 64) {
    result.body = OtherRecord{header.type};
    return result;
  }
  if (const Form* const form = this->form(record)) {
    if (payload.size() < form->trailer) {
      return short_record();
    }
    result.time = time_of(record).value_or(0);
    payload = payload.first(payload.size() - form->trailer);
  }

  const unsigned mode = header.misc & PERF_RECORD_MISC_CPUMODE_MASK;
  switch (header.type) {
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2: {
      MmapFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      MmapRecord mmap{.kernel = mode == PERF_RECORD_MISC_KERNEL,
                      .data = (header.misc & PERF_RECORD_MISC_MMAP_DATA) != 0,
                      .pid = fields.pid,
                      .tid = fields.tid,
                      .start = fields.start,
                      .length = fields.length,
                      .page_offset = fields.page_offset};
      if (header.type == PERF_RECORD_MMAP2) {
        // After the inode or the build-id come protection and flags.
        if (payload.size() < sizeof(BuildIdFields) + 8) {
          return short_record();
        }
        if ((header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID) != 0) {
          const auto size = std::to_integer<std::size_t>(payload[0]);
          mmap.build_id = payload.subspan(offsetof(BuildIdFields, id),
                                          std::min(size, sizeof(BuildIdFields::id)));
        }
        payload = payload.subspan(sizeof(BuildIdFields) + 8);
      }
      mmap.path = text_of(payload);
      if (mode == PERF_RECORD_MISC_GUEST_KERNEL || mode == PERF_RECORD_MISC_GUEST_USER) {
        result.body = OtherRecord{header.type};
      } else {
        result.body = mmap;
      }
      return result;
    }
    case PERF_RECORD_COMM: {
      CommFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      result.body = CommRecord{.pid = fields.pid,
                               .tid = fields.tid,
                               .name = text_of(payload),
                               .exec = (header.misc & PERF_RECORD_MISC_COMM_EXEC) != 0};
      return result;
    }
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT: {
      TaskFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      if (header.type == PERF_RECORD_FORK) {
        result.body = ForkRecord{.pid = fields.pid,
                                 .parent_pid = fields.parent_pid,
                                 .tid = fields.tid,
                                 .parent_tid = fields.parent_tid};
      } else {
        result.body = ExitRecord{.pid = fields.pid, .tid = fields.tid};
      }
      return result;
    }
    case PERF_RECORD_LOST: {
      LostFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      result.body = LostRecord{.id = fields.id, .count = fields.count};
      return result;
    }
    case PERF_RECORD_KSYMBOL: {
      KsymbolFields fields;
      if (!take(payload, fields)) {
        return short_record();
      }
      result.body =
          KsymbolRecord{.address = fields.address,
                        .length = fields.length,
                        .removed = (fields.flags & PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER) != 0,
                        .name = text_of(payload)};
      return result;
    }
    default:
      result.body = OtherRecord{header.type};
      return result;
  }
}

}  // namespace xenoprof::perf
