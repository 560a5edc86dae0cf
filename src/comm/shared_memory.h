// Open MPI's files in /dev/shm, through which ranks of one host talk.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace pixelbert::comm {

// Removes what jobs of this user that were killed (kill -9, out of memory) have left there on this host: of the files
// with Open MPI's names those that no process has mapped and that are older than `age`, for a job that starts creates
// its files before it maps them. Does nothing in a container that shares the folder with processes it cannot see. Never
// fails: what cannot be removed stays.
void remove_stale_segments(const std::filesystem::path& folder = "/dev/shm",
                           std::chrono::seconds age = std::chrono::seconds(60));

// Why the memory that `ranks` of this host want to share, `bytes_per_rank` each, does not fit; nothing when it does.
// What lies in /dev/shm is only taken when it is written to: too little would end a rank by SIGBUS later.
std::string lack_of_shared_memory(int ranks, std::int64_t bytes_per_rank);

}  // namespace pixelbert::comm
