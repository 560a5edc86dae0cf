// Runs from MPI_Init to MPI_Finalize, and knows this process's place in the job.
#pragma once

#include <string>
#include <vector>

namespace pixelbert::comm {

class MpiSession {
 public:
  // Without a launcher this is a job of one rank.
  MpiSession(int* argc, char*** argv);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // Waits for other ranks, so it must not run while an error unwinds (main() calls abort() instead).
  ~MpiSession();

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  int local_rank() const { return local_rank_; }  // among the ranks that share this host's memory
  int local_size() const { return local_size_; }
  const std::string& host() const { return host_; }

  // One number for each rank, the same for those that share a host's memory.
  const std::vector<int>& host_of_rank() const { return host_of_rank_; }

  // Collective. Whether every rank calls this within a few seconds of the first: then all have the same error.
  bool all_ranks_come() const;

  // Ends all ranks of the job at once; the launcher returns `exit_code`.
  [[noreturn]] void abort(int exit_code) const;

 private:
  int rank_ = 0;
  int world_size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  std::string host_;
  std::vector<int> host_of_rank_;
};

// "Open MPI v4.1.4 ..." for --version.
std::string mpi_version();

}  // namespace pixelbert::comm
