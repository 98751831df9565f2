/* See level.h. */
#include "scan.h"
#define LEVEL portable_level
#include "level.h"
