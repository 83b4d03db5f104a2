/* The tuning file: which algorithm a product of matrices was fastest with.  Knows nothing of CUDA.
 *
 * A text file, one line a product, its fields separated by tabs:  checksum, key, eight words of the algorithm in
 * hexadecimal.  The key names the device, the version of cuBLASLt and the product, so that one file serves several
 * machines.  A line that is damaged is passed over with a word in the log; it is gone when the file is written next.
 * Files are written whole under another name and then renamed: who reads meanwhile sees the old or the new one.  Two
 * writers may lose lines to each other, which are then measured again; what is there when a file is written is kept. */
#ifndef MFRGN_BACKENDS_CUDA_TUNING_H
#define MFRGN_BACKENDS_CUDA_TUNING_H

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MFC_TUNING_WORDS = 8, MFC_TUNING_KEY = 256 };

typedef struct mfc_tuning mfc_tuning;

/* Reads the file, which need not exist.  NULL: no memory. */
mfc_tuning *mfc_tuning_open(const mf_host *host, const char *path);
void mfc_tuning_free(mfc_tuning *tuning);

/* 1: known */
int mfc_tuning_find(const mfc_tuning *tuning, const char *key, uint64_t word[MFC_TUNING_WORDS]);
/* Notes a choice in place of an older one, and writes the file.  key: shorter than MFC_TUNING_KEY, no tab, no newline.
 * A file that cannot be written is a warning in the log: the choice holds for this stream.  0: done; else no memory */
int mfc_tuning_note(mfc_tuning *tuning, const char *key, const uint64_t word[MFC_TUNING_WORDS]);

/* The candidate with the least median of its `runs` times, [candidate][run], which are reordered.  What failed has
 * times below 0.  A later candidate must be 1 % faster: so near ties are decided the same way.  -1: all failed */
int mfc_tuning_fastest(float *times, int candidates, int runs);

#ifdef __cplusplus
}
#endif

#endif
