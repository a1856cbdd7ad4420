// SPDX-License-Identifier: GPL-2.0-or-later
// Bytes to records. They may come from anyone: a record that does not hold what its type asks for
// is an error, never undefined.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "model/result.h"
#include "perf/attribute.h"
#include "perf/records.h"

namespace xenoprof::perf {

// The first record of `bytes`, header included. Fails when they are no whole record.
Result<Bytes> first_record(Bytes bytes);

class RecordParser {
 public:
  // Of what RecordBuilder makes.
  explicit RecordParser(const Layout& layout);
  explicit RecordParser(const std::vector<Attribute>& attributes);

  // When `record`, one whole record, was made; 0 where it does not say. Nothing where it is a
  // sample of none of the layout's events.
  std::optional<std::uint64_t> time_of(Bytes record) const;
  // The result's views live as long as `record` does, and until the next call.
  Result<Record> parse(Bytes record);

 private:
  static constexpr std::size_t kNoEvent = std::numeric_limits<std::size_t>::max();
  // Where the fields of an event's records stand, in bytes.
  struct Form {
    std::uint64_t sample_type = 0;
    std::uint64_t read_format = 0;
    std::uint64_t branch_sample_type = 0;
    std::uint64_t sample_regs_user = 0;
    std::size_t event = kNoEvent;
    std::size_t time = 0;          // from the start of a sample's payload
    std::size_t trailer = 0;       // size of what sample_id_all appends to the other records
    std::size_t trailer_time = 0;  // from the end of the record; 0: none
  };

  static Form form_of(const Attribute& attribute);
  const Form* form(Bytes record) const;
  std::span<const std::uint64_t> words_at(Bytes bytes, std::size_t count);
  Result<Record> parse_sample(std::uint16_t misc, Bytes record, Bytes payload);

  std::vector<Form> forms_;
  std::unordered_map<std::uint64_t, std::uint32_t> form_of_id_;
  // Where the identifier stands: the same in the records of all events, or they could not be told
  // apart. In bytes; 0: nowhere.
  std::size_t sample_id_ = 0;              // from the start of a sample
  std::size_t trailer_id_ = 0;             // from the end of any other record
  std::vector<std::uint64_t> call_chain_;  // of a record that does not lie on a word's boundary
  // The form that was found last: most records are of the same event and CPU as the one before.
  mutable std::uint64_t last_id_ = 0;
  mutable std::uint32_t last_form_ = 0;
};

}  // namespace xenoprof::perf
