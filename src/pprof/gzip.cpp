// SPDX-License-Identifier: GPL-2.0-or-later
#include "pprof/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace xenoprof::pprof {
namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window; 16 asks for a gzip header
// Half the work of zlib's usual 6 for 2 to 3 % more bytes.
constexpr int kLevel = 5;
constexpr std::size_t kChunk = std::size_t{256} << 10;
constexpr std::size_t kMostAtOnce = std::numeric_limits<uInt>::max();

// zlib takes lengths of 32 bits: hands it the next part of `input` once the last is used up.
void feed(z_stream& stream, std::string_view& input) {
  if (stream.avail_in == 0) {
    const std::size_t part = std::min(input.size(), kMostAtOnce);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream.avail_in = static_cast<uInt>(part);
    input.remove_prefix(part);
  }
}

}  // namespace

Gzip::Gzip() : stream_(std::make_unique<z_stream>()) {
  deflateInit2(stream_.get(), kLevel, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY);
}

Gzip::~Gzip() {
  wait();
  deflateEnd(stream_.get());
}

void Gzip::run(std::string_view data, int flush) {
  do {
    feed(*stream_, data);
    const std::size_t had = out_.size();
    out_.resize(had + kChunk);
    stream_->next_out = reinterpret_cast<Bytef*>(out_.data() + had);
    stream_->avail_out = kChunk;
    deflate(stream_.get(), data.empty() ? flush : Z_NO_FLUSH);
    out_.resize(out_.size() - stream_->avail_out);
    // It has room left once it has taken in all.
  } while (stream_->avail_out == 0 || !data.empty());
}

void Gzip::wait() {
  if (running_.valid()) {
    running_.get();
  }
}

void Gzip::add(std::string_view data) {
  wait();
  run(data, Z_NO_FLUSH);
}

void Gzip::add_aside(std::string& data) {
  wait();
  aside_.swap(data);
  data.clear();
  running_ = std::async(std::launch::async, [this] { run(aside_, Z_NO_FLUSH); });
}

std::string Gzip::finish() {
  wait();
  run({}, Z_FINISH);
  return std::move(out_);
}

std::string gzip(std::string_view data) {
  Gzip gzip;
  gzip.add(data);
  return gzip.finish();
}

Result<std::string> gunzip(std::string_view compressed, std::size_t limit) {
  z_stream stream{};
  inflateInit2(&stream, kGzipWindow);
  std::string out;
  int status = Z_OK;
  while (status == Z_OK && out.size() <= limit) {
    feed(stream, compressed);
    const std::size_t had = out.size();
    out.resize(had + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + had);
    stream.avail_out = kChunk;
    // Z_BUF_ERROR once the input has run out: it was cut short.
    status = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  const bool rest = stream.avail_in != 0 || !compressed.empty();
  inflateEnd(&stream);
  if (status == Z_BUF_ERROR) {
    return fail("it is cut short");
  }
  if (out.size() > limit) {
    return fail("it unpacks to more than {} MiB", limit >> 20);
  }
  if (status != Z_STREAM_END) {
    return fail("it is not gzip data, or damaged");
  }
  if (rest) {
    return fail("something follows its end");
  }
  return out;
}

}  // namespace xenoprof::pprof
