#include "comm/texts.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

#include "core/activity.h"

namespace pixelbert::comm {
namespace {

constexpr const char* kWaits = "a message between ranks";

}  // namespace

std::string broadcast_text(const std::string& text, Communicator& control, int root) {
  const activity::WaitInStart wait(kWaits);
  torch::Tensor length = at::zeros({1}, at::kLong);
  *length.mutable_data_ptr<std::int64_t>() = static_cast<std::int64_t>(text.size());
  control.broadcast(length, root);
  torch::Tensor bytes = at::zeros({*length.const_data_ptr<std::int64_t>()}, at::kByte);
  if (control.rank() == root) std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<std::uint8_t>());
  if (bytes.numel() > 0) control.broadcast(bytes, root);
  const auto* begin = bytes.const_data_ptr<std::uint8_t>();
  return {begin, begin + bytes.numel()};
}

std::vector<std::string> gather_texts(const std::string& own, Communicator& control) {
  const activity::WaitInStart wait(kWaits);
  torch::Tensor lengths = at::zeros({control.world_size()}, at::kLong);
  auto* const length = lengths.mutable_data_ptr<std::int64_t>();
  length[control.rank()] = static_cast<std::int64_t>(own.size());
  control.all_reduce(lengths, ReduceOp::Sum)->wait();

  const std::int64_t before = std::accumulate(length, length + control.rank(), std::int64_t{0});
  torch::Tensor bytes = at::zeros({std::accumulate(length, length + control.world_size(), std::int64_t{0})}, at::kByte);
  auto* at = bytes.mutable_data_ptr<std::uint8_t>();
  std::copy(own.begin(), own.end(), at + before);
  if (bytes.numel() > 0) control.all_reduce(bytes, ReduceOp::Sum)->wait();  // each has one owner, the others add zero
  std::vector<std::string> all;
  for (int rank = 0; rank < control.world_size(); at += length[rank++]) all.emplace_back(at, at + length[rank]);
  return all;
}

}  // namespace pixelbert::comm
