// SPDX-License-Identifier: GPL-2.0-or-later
// What annotate() shows, whatever its form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/result.h"
#include "report/annotate.h"
#include "symbols/source_lines.h"

namespace xenoprof {

using Counts = std::vector<std::uint64_t>;  // samples, one number per event

struct AnnotatedInstruction {
  std::uint64_t address = 0;  // virtual where the code is at hand, else as the profile has it
  std::string text;           // empty where the code is not at hand
  Counts samples;
  std::vector<SourceLine> lines;  // innermost first
};

struct AnnotatedLine {
  std::uint32_t number = 0;
  std::optional<std::string> text;  // where the source is at hand
  Counts samples;
};

struct AnnotatedFile {
  std::string path;
  std::vector<AnnotatedLine> lines;  // those with samples, and with the source all in between
  Counts samples;
};

// A function of the image; several may bear one name.
struct AnnotatedFunction {
  Counts samples;
  std::vector<AnnotatedInstruction> instructions;  // by address
  std::vector<AnnotatedFile> files;                // most samples first
};

struct Annotation {
  std::string symbol;
  std::string image;
  std::string build_id;
  std::vector<std::string> events;
  Counts samples;                            // of the symbol in the image
  Counts totals;                             // of all that pass the filter
  std::vector<AnnotatedFunction> functions;  // most samples first
  std::vector<std::string> notes;            // what is not shown, and why; sentences
};

Result<Annotation> make_annotation(const Profile& profile, const AnnotateOptions& options);

std::string to_text(const Annotation& annotation, const TextStyle& style);
std::string to_json(const Annotation& annotation);

}  // namespace xenoprof
