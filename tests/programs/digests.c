// Has the kernel compute SHA-3 digests without end, in whatever module of it that does so.
#include <linux/if_alg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  static char block[1 << 16], digest[64];
  struct sockaddr_alg name = {.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha3-512"};
  int algorithm = socket(AF_ALG, SOCK_SEQPACKET, 0);
  if (algorithm < 0 || bind(algorithm, (struct sockaddr *)&name, sizeof name)) return perror("AF_ALG"), 1;
  int operation = accept(algorithm, 0, 0);
  while (write(operation, block, sizeof block) == sizeof block && read(operation, digest, sizeof digest) > 0) {}
  return perror("digest"), 1;
}
