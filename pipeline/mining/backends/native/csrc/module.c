/* What Python calls: checks of sizes, and calls of the rest. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include "scan.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_NORM 1e15 /* beyond it float32 distances overflow */

/* The buffers of a call, by the order of their arguments. */
enum {
    CANDIDATES,
    IDS,
    LABELS,
    ANCHORS,
    ANCHOR_LABELS,
    FIRST_PAIR,
    LOWER,
    UPPER,
    FILTER_CANDIDATES,
    SPANS,
    FILTER_ANCHORS,
    ANCHOR_ROUNDINGS,
    BEST,
    BEST_ID,
    NUM_BUFFERS
};

/* Native code must not crash: sizes are checked here once more, whatever Python did. */
static const char *check(const Scan *s, const Py_buffer *buffers) {
    int64_t item = s->half ? 2 : 4, p = buffers[LOWER].len / 4,
            q_item = s->filter_candidates ? s->kernel->element_bytes : 0;
    const int64_t most = (int64_t)1 << 40; /* and so no product of sizes overflows */
    if (s->n < 0 || s->n > most || s->a < 0 || s->a > most || s->d < 1 || s->d > 1 << 20 || s->m < 1 ||
        s->m > 1 << 20 || s->k < 1 || s->k > 1 << 20 || s->position < 0 || s->position > s->n ||
        (q_item == 0 && s->k != s->d) || (q_item == 4))
        return "a size is out of range";
    const int64_t expected[NUM_BUFFERS] = {s->n * s->d * item,
                                           s->n * 8,
                                           s->n * 4,
                                           s->a * s->d * item,
                                           s->a * 4,
                                           (s->a + 1) * 8,
                                           p * 4,
                                           p * 4,
                                           s->n * s->k * q_item,
                                           (s->n + SPAN - 1) / SPAN * (int64_t)sizeof(Rounding),
                                           s->a * s->k * q_item,
                                           s->a * (int64_t)sizeof(Rounding),
                                           p * s->m * 4,
                                           p * s->m * 8};
    for (int i = 0; i < NUM_BUFFERS; i++)
        if (buffers[i].len != expected[i]) return "the arrays' sizes do not go together";
    if (s->first_pair[0] != 0 || s->first_pair[s->a] != p) return "first_pair does not cover the pairs";
    for (int64_t i = 0; i < s->a; i++)
        if (s->first_pair[i] > s->first_pair[i + 1]) return "first_pair does not ascend";
    for (int64_t i = 0; i < s->a; i++)
        for (int64_t j = s->first_pair[i] + 1; j < s->first_pair[i + 1]; j++)
            if (!(s->lower[j - 1] <= s->lower[j] && s->upper[j - 1] <= s->upper[j])) return "bounds do not ascend";
    for (int i = SPANS; i <= ANCHOR_ROUNDINGS; i += ANCHOR_ROUNDINGS - SPANS)
        for (int64_t j = 0; j < buffers[i].len / 8; j++)
            if (!isfinite(((const double *)buffers[i].buf)[j])) return "a rounding is not finite";
    return NULL;
}

static int num_kernels(void) {
    int n = 0;
    while (KERNELS[n].instruction_set) n++;
    return n;
}

static PyObject *scan(PyObject *module, PyObject *args) {
    Scan s = {0};
    Py_buffer buffers[NUM_BUFFERS];
    int kernel, in_software;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*y*y*y*y*w*w*LLLLLLddiiii", &buffers[0], &buffers[1], &buffers[2],
                          &buffers[3], &buffers[4], &buffers[5], &buffers[6], &buffers[7], &buffers[8], &buffers[9],
                          &buffers[10], &buffers[11], &buffers[12], &buffers[13], &s.n, &s.a, &s.d, &s.m, &s.k,
                          &s.position, &s.epsilon, &s.most_in_vain, &s.half, &kernel, &in_software, &s.compare))
        return NULL;
    s.candidates = buffers[CANDIDATES].buf, s.ids = buffers[IDS].buf, s.labels = buffers[LABELS].buf;
    s.anchors = buffers[ANCHORS].buf, s.anchor_labels = buffers[ANCHOR_LABELS].buf;
    s.first_pair = buffers[FIRST_PAIR].buf;
    s.lower = buffers[LOWER].buf, s.upper = buffers[UPPER].buf;
    s.filter_candidates = buffers[FILTER_CANDIDATES].len ? buffers[FILTER_CANDIDATES].buf : NULL;
    s.spans = buffers[SPANS].buf, s.filter_anchors = buffers[FILTER_ANCHORS].len ? buffers[FILTER_ANCHORS].buf : NULL;
    s.anchor_roundings = buffers[ANCHOR_ROUNDINGS].buf, s.best = buffers[BEST].buf, s.best_id = buffers[BEST_ID].buf;
    const char *wrong = NULL;
    int use_tiles = 0;
    Kernel chosen;
    if (kernel < 0 || kernel >= num_kernels()) {
        wrong = "there is no such kernel";
    } else {
        chosen = KERNELS[kernel];
        const char *set = in_software ? "portable" : chosen.instruction_set;
        if (in_software && chosen.is_float) wrong = "only integer products have a twin in software";
        else if (in_software) chosen.sweep = sweep_in_software;
        if (!wrong && (!chosen.sweep || !supports(set))) wrong = "this processor lacks the instruction set";
        s.kernel = &chosen;
        if (!wrong) wrong = check(&s, buffers);
        s.level = level_of(set);
        use_tiles = !strcmp(set, "amx") && chosen.element_bytes < 4;
    }
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, wrong);
    } else if (!make_room(&s)) {
        PyErr_NoMemory();
    } else {
        Py_BEGIN_ALLOW_THREADS
        run(&s, use_tiles);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("LLL", (long long)s.position, (long long)s.num_looked_at, (long long)s.num_rescored);
    }
    free_room(&s);
    for (int i = 0; i < NUM_BUFFERS; i++) PyBuffer_Release(&buffers[i]);
    return result;
}

/* |x|^2 of n vectors, into float64; ValueError where one is not finite, or too large for float32 distances. */
static PyObject *squared_norms(PyObject *module, PyObject *args) {
    Py_buffer vectors, norms;
    long long n, d, bad = -1;
    int half;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*LLiw*", &vectors, &n, &d, &half, &norms)) return NULL;
    int fits = n >= 0 && d > 0 && vectors.len == n * d * (half ? 2 : 4) && norms.len == n * 8;
    if (fits) {
        const Level *level = best_level();
        Py_BEGIN_ALLOW_THREADS
        unsigned mode = keep_subnormals();
        for (long long i = 0; i < n && bad < 0; i++) {
            double norm = level->measure((const char *)vectors.buf + i * d * (half ? 2 : 4), d, half).square;
            if (!(norm < LARGEST_NORM * LARGEST_NORM)) bad = i;
            ((double *)norms.buf)[i] = norm;
        }
        restore_mode(mode);
        Py_END_ALLOW_THREADS
    }
    if (!fits) PyErr_SetString(PyExc_ValueError, "the array's size does not go with n and d");
    if (bad >= 0) PyErr_Format(PyExc_ValueError, "vector %lld is not finite, or longer than 1e15", bad);
    PyBuffer_Release(&vectors);
    PyBuffer_Release(&norms);
    if (!fits || bad >= 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *quantise(PyObject *module, PyObject *args) {
    Py_buffer vectors, q, roundings;
    long long n, k, group;
    double limit, longest; /* of |q| in one dimension, and of the whole vector */
    int half, bytes, parts, is_float;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*LLiLddiiiw*w*", &vectors, &n, &k, &half, &group, &limit, &longest, &bytes, &parts,
                          &is_float, &q, &roundings))
        return NULL;
    int fits = n >= 0 && k > 0 && k <= 1 << 20 && group > 0 && (bytes == 1 || bytes == 2) &&
               vectors.len == n * k * (half ? 2 : 4) && (q.len == 0 || q.len == n * k * bytes) &&
               roundings.len == (n + group - 1) / group * (int64_t)sizeof(Rounding) &&
               (is_float ? bytes == 2 : limit >= 1 && limit <= (bytes == 1 ? 127 : 32767));
    char *room = fits ? malloc((size_t)k * 2) : NULL;
    if (room) {
        Py_BEGIN_ALLOW_THREADS
        unsigned mode = keep_subnormals();
        quantise_all(vectors.buf, n, k, half, group, limit, longest, bytes, parts, is_float, q.len ? q.buf : NULL,
                     roundings.buf, room);
        restore_mode(mode);
        Py_END_ALLOW_THREADS
    }
    free(room);
    PyBuffer_Release(&vectors);
    PyBuffer_Release(&q);
    PyBuffer_Release(&roundings);
    if (!fits) PyErr_SetString(PyExc_ValueError, "the arrays' sizes do not go together");
    else if (!room) PyErr_NoMemory();
    if (!room) return NULL;
    Py_RETURN_NONE;
}

/* The table of kernels: (instruction set, element, sum_bits, limit, candidate_limit, bytes of q, parts, is_float,
 * dimensions of a piece). */
static PyObject *kernels(PyObject *module, PyObject *args) {
    (void)module, (void)args;
    PyObject *list = PyList_New(0);
    for (const Kernel *kernel = KERNELS; list && kernel->instruction_set; kernel++) {
        int item = packed_bytes(kernel), piece = kernel->is_twice ? kernel->word_bytes : kernel->piece_bytes;
        PyObject *entry = Py_BuildValue("(ssiiiiiii)", kernel->instruction_set, kernel->element, kernel->sum_bits,
                                        kernel->limit, kernel->candidate_limit, kernel->element_bytes, kernel->parts,
                                        kernel->is_float, piece / item);
        if (!entry || PyList_Append(list, entry)) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *is_supported(PyObject *module, PyObject *args) {
    const char *instruction_set;
    (void)module;
    return PyArg_ParseTuple(args, "s", &instruction_set) ? PyBool_FromLong(supports(instruction_set)) : NULL;
}

static PyMethodDef METHODS[] = {
    {"scan", scan, METH_VARARGS,
     "Scans one shard for the nearest negatives of every pair; see mining/backends/native/search.py."},
    {"squared_norms", squared_norms, METH_VARARGS, "Squared norms of vectors that can be scanned."},
    {"quantise", quantise, METH_VARARGS, "Rounds filter vectors, and measures what that costs."},
    {"kernels", kernels, METH_NOARGS, "The table of kernels, of all instruction sets."},
    {"supports", is_supported, METH_VARARGS, "Whether this processor, and this build, has an instruction set."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_native", "The compiled scan.", -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&MODULE); }
