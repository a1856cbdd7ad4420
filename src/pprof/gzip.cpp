// SPDX-License-Identifier: GPL-2.0-or-later
#include "pprof/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

namespace xenoprof::pprof {
namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window; 16 asks for a gzip header
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

std::string gzip(std::string_view data) {
  z_stream stream{};
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY);
  std::string out;
  int status = Z_OK;
  while (status != Z_STREAM_END) {
    feed(stream, data);
    const std::size_t had = out.size();
    out.resize(had + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + had);
    stream.avail_out = kChunk;
    status = deflate(&stream, data.empty() ? Z_FINISH : Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return out;
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
