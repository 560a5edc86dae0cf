// What a test that runs on several ranks may ask; mpi_test_main.cpp is its main().
#pragma once

#include "comm/mpi_session.h"

namespace pixelbert::test {

const comm::MpiSession& session();

}  // namespace pixelbert::test
