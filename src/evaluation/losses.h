// Losses and accuracies of an objective over a data set: what pre-training is evaluated by.
#pragma once

#include "evaluation/pass.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"

namespace pixelbert::evaluation {

// Collective; the same on every rank and at any number of them. "mlm_loss", "mlm_accuracy", "itm_loss", ...
Metrics mean_losses(objectives::Objective& objective, model::PixelBert& model, const Pass& pass);

}  // namespace pixelbert::evaluation
