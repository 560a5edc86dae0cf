// One function per command of `pixelbert`; main.cpp picks. Each returns the exit code.
#pragma once

#include "comm/mpi_session.h"
#include "config/command_line.h"

namespace pixelbert::apps {

using config::Arguments;

int shard(const Arguments& arguments);
int inspect(const Arguments& arguments);
int plan(const Arguments& arguments);
int import_weights(const Arguments& arguments);
int export_weights(const Arguments& arguments);
int diagnose(const Arguments& arguments);

// Collective.
int pretrain(const Arguments& arguments, const comm::MpiSession& session);
int finetune(const Arguments& arguments, const comm::MpiSession& session);
int evaluate(const Arguments& arguments, const comm::MpiSession& session);
int doctor(const Arguments& arguments, const comm::MpiSession& session);

// These run on one rank.
int predict(const Arguments& arguments, const comm::MpiSession& session);
int visualize(const Arguments& arguments, const comm::MpiSession& session);

}  // namespace pixelbert::apps
