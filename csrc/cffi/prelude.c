#include "lstmcore.h"
