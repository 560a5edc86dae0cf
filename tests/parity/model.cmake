# ResNet, BERT and the whole Pixel-BERT: outputs, losses and gradients equal torchvision's and transformers'.
add_executable(run_model_case ${CMAKE_CURRENT_SOURCE_DIR}/run_model_case.cpp)
target_link_libraries(run_model_case PRIVATE pb_tasks)
pb_reuse_test_header(run_model_case)
pb_script_test(parity.model parity 600 model_parity.py $<TARGET_FILE:run_model_case>)
