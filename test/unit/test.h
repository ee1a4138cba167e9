/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every unit test includes: cmocka and what it needs before it. */
#ifndef TEST_UNIT_TEST_H
#define TEST_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* Runs the file's tests; T(name) is a row. */
#define T(name) cmocka_unit_test(name)
#define RUN(tests) cmocka_run_group_tests(tests, NULL, NULL)

#endif
