// The MPI session of a test that runs on several ranks; mpi_test_main.cpp has its main().
#pragma once

#include "comm/mpi_session.h"

namespace pixelbert::test {

const comm::MpiSession& session();

}  // namespace pixelbert::test
