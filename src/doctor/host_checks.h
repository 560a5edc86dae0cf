// Checks that a rank makes by itself.
#pragma once

#include <filesystem>

#include "doctor/finding.h"
#include "images/image_ops.h"

namespace pixelbert::doctor {

Finding check_shared_memory(int ranks_on_host);  // /dev/shm

Finding check_locks(const std::filesystem::path& shard_folder);

// Reads for a second or two; ranks start at different files, so that they do not read from each other's cache.
Finding check_read_rate(const std::filesystem::path& shard_folder, int rank, int world_size);

// Measures for a second how many images one loader thread reads, decodes and resizes. LibTorch's operators of the
// calling thread run on it alone from then on (core/single_thread.h). Ranks start at different images.
Finding check_loader(const std::filesystem::path& shard_folder, const images::ImageConfig& image, int rank);

Finding check_run_folder(const std::filesystem::path& run_dir);

// Returns the bytes per second that this core copies in memory.
double memory_rate();

// Returns the bytes per second of the network that MPI uses between hosts, by PIXELBERT_TCP_INTERFACE or the default
// route; 0 when the system does not know it.
double link_rate();

}  // namespace pixelbert::doctor
