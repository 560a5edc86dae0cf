// Tells hosts apart by the last bits that they compute: processors, libraries and numbers of threads round differently,
// and a job on unlike hosts has the bits of none of them alone.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

#include "comm/communicator.h"
#include "model/autocast.h"

namespace pixelbert::train {

// "gradient": the CRC-32C of the gradients of one fixed small micro-batch; the other entries are what it depends on.
// Kept in every checkpoint. Empty: a checkpoint that does not say.
using Numerics = std::map<std::string, std::string>;

Numerics measure_numerics(torch::Device device, model::Precision precision);

// Returns how one differs from another, such as "AVX2 instead of AVX512"; empty if the gradients have the same bits.
std::string difference(const Numerics& one, const Numerics& other);

// Collective. Names a rank of each host that computes other bits than rank 0, and says if rank 0 computes others than
// `saved`, the numerics of the checkpoint in `folder`: warnings, or with `same` an error on all ranks.
void compare_numerics(const Numerics& own, const Numerics& saved, const std::filesystem::path& folder, bool same,
                      comm::Communicator& control);

}  // namespace pixelbert::train
