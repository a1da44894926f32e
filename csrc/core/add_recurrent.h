/* What the two files that add recurrent layers share. */
#ifndef LSTMCORE_ADD_RECURRENT_H
#define LSTMCORE_ADD_RECURRENT_H

#include "program.h"

/* lstmcore_append for a recurrent op, whose widths stand in it. */
int lstmcore_append_recurrent(lstmcore_model *model, op *o, lstmcore_value in, int code, lstmcore_value *out);

#endif
