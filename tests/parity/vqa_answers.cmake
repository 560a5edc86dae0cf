# The official VQA scoring and the usual answer vocabulary, as Python makes them of the same annotations.
add_executable(score_vqa_answers ${PROJECT_SOURCE_DIR}/tests/sources/score_vqa_answers.cpp)
target_link_libraries(score_vqa_answers PRIVATE pb_sources)
pb_script_test(parity.vqa_answers parity 600 vqa_answers_parity.py $<TARGET_FILE:score_vqa_answers>)
set_tests_properties(parity.vqa_answers PROPERTIES SKIP_RETURN_CODE 77)
