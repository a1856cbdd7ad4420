// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/peer.h"

#include <utility>

namespace xenoprof {

DomainData::DomainData(std::filesystem::path path, perf::DataWriter writer,
                       const perf::Layout& layout, bool passive)
    : path_(std::move(path)),
      writer_(std::move(writer)),
      parser_(layout),
      interpreter_(layout,
                   passive ? perf::Interpreter::Kind::kPassive : perf::Interpreter::Kind::kOwn) {}

Result<DomainData> DomainData::create(const std::filesystem::path& path, const perf::Layout& layout,
                                      bool passive) {
  auto writer = perf::DataWriter::create(path, layout);
  if (!writer) {
    return std::unexpected(writer.error());
  }
  DomainData data(path, std::move(*writer), layout, passive);
  if (passive) {
    if (auto written = data.writer_.write(perf::passive_head(layout)); !written) {
      return std::unexpected(written.error());
    }
  }
  return data;
}

Result<void> DomainData::add(std::string_view records) {
  const perf::Bytes bytes = std::as_bytes(std::span(records));
  for (perf::Bytes rest = bytes; !rest.empty();) {
    const auto record = perf::first_record(rest);
    if (!record) {
      return fail("its agent sent a broken record: {}", record.error().message);
    }
    const auto parsed = parser_.parse(*record);
    if (!parsed) {
      return fail("its agent sent a broken record: {}", parsed.error().message);
    }
    interpreter_.add(*parsed);
    rest = rest.subspan(record->size());
  }
  if (written_) {
    written_ = writer_.write(bytes);
  }
  return {};
}

Result<void> DomainData::finish(const perf::Features& features, perf::Bytes more) {
  if (written_) {
    written_ = writer_.write(more);
  }
  const auto finished = writer_.finish(features);
  return written_ ? finished : written_;
}

}  // namespace xenoprof
