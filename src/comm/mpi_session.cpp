#include "comm/mpi_session.h"

#include <mpi.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "comm/mpi_check.h"
#include "comm/shared_memory.h"
#include "core/log.h"
#include "core/running_clock.h"

namespace pixelbert::comm {
namespace {

// A rank without a launcher is alone: starts no daemon for it and does not look for network cards, which takes half of
// the time of a short command. It does not need a session folder either; all such processes of a user would have the
// same, and one that ends removes it while another makes it. Variables that are already set take precedence.
void prepare_to_be_alone() {
  for (const char* launched : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(launched)) return;
  }
  ::setenv("OMPI_MCA_ess_singleton_isolated", "1", /*overwrite=*/0);
  ::setenv("OMPI_MCA_orte_create_session_dirs", "0", /*overwrite=*/0);
  ::setenv("OMPI_MCA_pml", "ob1", /*overwrite=*/0);
}

bool is_first_on_host() {
  for (const char* local_rank : {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}) {
    if (const char* given = std::getenv(local_rank)) return std::string_view(given) == "0";
  }
  return true;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  prepare_to_be_alone();
  if (is_first_on_host()) remove_stale_segments();
  int provided = 0;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided));
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  PB_CHECK(provided == MPI_THREAD_MULTIPLE,
           "MPI: expected MPI_THREAD_MULTIPLE ({}), because each communicator has its own thread; this MPI offers "
           "level {}: use an Open MPI built with thread support",
           MPI_THREAD_MULTIPLE, provided);
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &world_size_));

  MPI_Comm this_host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &this_host));
  check_mpi(MPI_Comm_rank(this_host, &local_rank_));
  check_mpi(MPI_Comm_size(this_host, &local_size_));
  int first = rank_;
  check_mpi(MPI_Bcast(&first, 1, MPI_INT, 0, this_host));
  check_mpi(MPI_Comm_free(&this_host));
  host_of_rank_.resize(static_cast<std::size_t>(world_size_));
  check_mpi(MPI_Allgather(&first, 1, MPI_INT, host_of_rank_.data(), 1, MPI_INT, MPI_COMM_WORLD));

  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  check_mpi(MPI_Get_processor_name(name, &length));
  host_.assign(name, static_cast<std::size_t>(length));
}

MpiSession::~MpiSession() {
  MPI_Finalize();
}

bool MpiSession::all_ranks_come() const {
  constexpr auto kTimeout = std::chrono::seconds(5);
  MPI_Request arrived = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(MPI_COMM_WORLD, &arrived));
  int done = 0;
  for (const auto start = RunningClock::now(); RunningClock::now() - start < kTimeout;) {
    check_mpi(MPI_Test(&arrived, &done, MPI_STATUS_IGNORE));
    if (done) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return done != 0;
}

void MpiSession::abort(int exit_code) const {
  spdlog::default_logger()->flush();
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);  // MPI_Abort may return after only asking the launcher
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  check_mpi(MPI_Get_library_version(text, &length));
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find(','));  // "Open MPI v4.1.4, package: ..., ident: ..."
}

}  // namespace pixelbert::comm
