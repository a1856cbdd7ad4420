// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/domain_data.h"

#include <linux/perf_event.h>

#include <utility>
#include <variant>

#include "perf/data_reader.h"
#include "perf/interpret.h"

namespace xenoprof {

DomainData::DomainData(const Folder* folder, std::string file,
                       std::optional<perf::DataWriter> writer, const perf::Layout& layout,
                       bool passive)
    : folder_(folder),
      file_(std::move(file)),
      layout_(layout),
      passive_(passive),
      writer_(std::move(writer)),
      parser_(layout),
      arrived_(layout.events.size()) {}

Result<DomainData> DomainData::create(const Folder* folder, const std::string& name,
                                      const perf::Layout& layout, bool passive) {
  if (folder == nullptr) {
    return DomainData(nullptr, {}, std::nullopt, layout, passive);
  }
  const std::string file = name + ".perf.data";
  auto opened = folder->create(file);
  if (!opened) {
    return std::unexpected(opened.error());
  }
  auto writer = perf::DataWriter::create(*std::move(opened), folder->path() / file, layout);
  if (!writer) {
    return std::unexpected(writer.error());
  }
  DomainData data(folder, file, std::move(*writer), layout, passive);
  if (passive) {
    if (auto written = data.writer_->write(perf::passive_head(layout)); !written) {
      return std::unexpected(written.error());
    }
  }
  return data;
}

perf::Interpreter DomainData::new_interpreter() const {
  return perf::Interpreter(
      layout_, passive_ ? perf::Interpreter::Kind::kPassive : perf::Interpreter::Kind::kOwn);
}

void DomainData::interpret_at_once(const std::optional<Machines>& machines) {
  interpreter_.emplace(new_interpreter());
  if (machines) {
    interpreter_->set_machines(machines->host, machines->by_process);
  }
}

Profile* DomainData::profile_so_far() {
  return interpreter_ ? &interpreter_->profile() : nullptr;
}

Result<void> DomainData::add(std::string_view records) {
  const perf::Bytes bytes = std::as_bytes(std::span(records));
  std::vector<std::uint64_t> samples(arrived_.size());
  for (perf::Bytes rest = bytes; !rest.empty();) {
    const auto record = perf::first_record(rest);
    if (!record) {
      return fail("its agent sent a broken record: {}", record.error().message);
    }
    const auto parsed = parser_.parse(*record);
    if (!parsed) {
      return fail("its agent sent a broken record: {}", parsed.error().message);
    }
    if (const auto* sample = std::get_if<perf::SampleRecord>(&parsed->body)) {
      ++samples[sample->event];
    } else if (const auto* other = std::get_if<perf::OtherRecord>(&parsed->body)) {
      // perf would take the file at its word.
      return fail("its agent sent a record of type {}, which none has to send", other->type);
    }
    if (interpreter_) {
      interpreter_->add(*parsed);
    }
    rest = rest.subspan(record->size());
  }
  for (std::size_t event = 0; event < samples.size(); ++event) {
    arrived_[event] += samples[event];
  }
  if (written_ && writer_) {
    written_ = writer_->write(bytes);
  }
  return {};
}

void DomainData::add_own(perf::Bytes record) {
  if (perf::value_at<perf_event_header>(record, 0).type == PERF_RECORD_SAMPLE) {
    ++arrived_[perf::value_at<std::uint64_t>(record, sizeof(perf_event_header)) -
               perf::event_id(0)];
  }
  if (interpreter_) {
    if (const auto parsed = parser_.parse(record)) {
      interpreter_->add(*parsed);
    }
  }
  if (written_ && writer_) {
    written_ = writer_->write(record);
  }
}

Profile DomainData::profile() {
  if (interpreter_) {
    notes_ = interpreter_->notes();
    return std::move(interpreter_->profile());
  }
  return read_again(new_interpreter());
}

Profile DomainData::host_profile(const Machines& machines) {
  perf::Interpreter interpreter(layout_);
  interpreter.set_machines(machines.host, machines.by_process);
  return read_again(std::move(interpreter));
}

std::unordered_map<std::int32_t, Profile> DomainData::guest_profiles(
    const std::vector<std::int32_t>& processes) {
  std::unordered_map<std::int32_t, perf::Interpreter> interpreters;
  for (const std::int32_t process : processes) {
    interpreters.emplace(process, perf::Interpreter(layout_, perf::Interpreter::Kind::kPassive))
        .first->second.guest_samples_only(process);
  }
  if (!interpreters.empty()) {
    read_again([&](const perf::Record& record) {
      const auto* const sample = std::get_if<perf::SampleRecord>(&record.body);
      const auto its = sample != nullptr ? interpreters.find(sample->pid) : interpreters.end();
      if (its != interpreters.end()) {
        its->second.add(record);
      }
    });
  }
  std::unordered_map<std::int32_t, Profile> profiles;
  for (auto& [process, interpreter] : interpreters) {
    profiles.emplace(process, std::move(interpreter.profile()));
  }
  return profiles;
}

Profile DomainData::read_again(perf::Interpreter interpreter) {
  if (writer_) {
    read_again([&](const perf::Record& record) { interpreter.add(record); });
    notes_ = interpreter.notes();
  }
  return std::move(interpreter.profile());
}

void DomainData::read_again(const std::function<void(const perf::Record&)>& take) {
  if (!writer_) {
    return;
  }
  if (written_) {
    written_ = writer_->flush();
  }
  const auto read = [&]() -> Result<void> {
    auto file = folder_->read(file_);
    if (!file) {
      return std::unexpected(file.error());
    }
    const std::filesystem::path path = folder_->path() / file_;
    auto reader = perf::DataReader::read(*std::move(file), path);
    if (!reader) {
      return std::unexpected(reader.error());
    }
    for (;;) {
      const auto record = reader->next();
      if (!record) {
        return std::unexpected(record.error());
      }
      if (!*record) {
        return reader->truncated() ? fail("{} ends early", path.string()) : Result<void>();
      }
      take(**record);
    }
  }();
  if (!read && written_) {
    written_ = read;
  }
}

void DomainData::discard() {
  if (writer_) {
    folder_->remove(file_);
  }
}

Result<void> DomainData::finish(const perf::Features& features, perf::Bytes more) {
  if (!writer_) {
    return {};
  }
  if (written_) {
    written_ = writer_->write(more);
  }
  const auto finished = writer_->finish(features);
  return written_ ? finished : written_;
}

}  // namespace xenoprof
