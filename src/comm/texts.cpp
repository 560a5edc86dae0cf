#include "comm/texts.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

namespace pixelbert::comm {

std::string broadcast_text(const std::string& text, Communicator& control, int root) {
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
  std::vector<std::string> all;
  for (int rank = 0; rank < control.world_size(); ++rank) {
    all.push_back(broadcast_text(rank == control.rank() ? own : "", control, rank));
  }
  return all;
}

}  // namespace pixelbert::comm
