// Open MPI's files in /dev/shm, through which the ranks of one host communicate.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace pixelbert::comm {

// Removes files that killed jobs of this user (kill -9, out of memory) have left on this host: those with Open MPI's
// names that no process has mapped and that are older than `age`, because a starting job creates its files before it
// maps them. Does nothing in a container that shares the folder with processes it cannot see. Never throws: a file that
// cannot be removed stays.
void remove_stale_segments(const std::filesystem::path& folder = "/dev/shm",
                           std::chrono::seconds age = std::chrono::seconds(60));

// Returns why `ranks` of this host cannot share `bytes_per_rank` each; empty when they can. Memory in /dev/shm is
// allocated only when it is written to: a lack of it would kill a rank with SIGBUS later.
std::string lack_of_shared_memory(int ranks, std::int64_t bytes_per_rank);

}  // namespace pixelbert::comm
