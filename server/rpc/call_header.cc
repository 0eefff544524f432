#include "server/rpc/call_header.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <vector>

namespace batchnorm::rpc {
namespace {

using google::protobuf::internal::WireFormatLite;

constexpr int kSession = 1;
constexpr int kStep = 2;
constexpr int kRank = 3;
constexpr int kPass = 4;  // of BackwardRequest
constexpr int kLastOfHeader = 12;
constexpr std::size_t kHeaderBytes = 1024;

// The beginning of the request, in one piece.
std::string BeginningOf(const grpc::ByteBuffer& request) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!request.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    const std::size_t more =
        std::min(slice.size(), kHeaderBytes - bytes.size());
    bytes.append(reinterpret_cast<const char*>(slice.begin()), more);
  }
  return bytes;
}

}  // namespace

CallHeader ReadHeader(const grpc::ByteBuffer& request, session::Phase phase) {
  const std::string bytes = BeginningOf(request);
  google::protobuf::io::CodedInputStream in(
      reinterpret_cast<const std::uint8_t*>(bytes.data()),
      static_cast<int>(bytes.size()));
  CallHeader header;
  header.key.phase = phase;
  while (const std::uint32_t tag = in.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    std::uint64_t number = 0;
    if (field > kLastOfHeader) break;
    if (field == kSession) {
      std::uint32_t size = 0;
      if (!in.ReadVarint32(&size)) break;
      if (!in.ReadString(&header.session, static_cast<int>(size))) break;
    } else if (field == kStep) {
      if (!in.ReadVarint64(&header.key.step)) break;
    } else if (field == kRank || field == kPass) {
      if (!in.ReadVarint64(&number)) break;
      const auto value = static_cast<std::uint32_t>(number);
      if (field == kRank) header.rank = value;
      if (field == kPass && phase == session::Phase::kBackward) {
        header.key.pass = value;
      }
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      break;
    }
  }
  return header;
}

}  // namespace batchnorm::rpc
