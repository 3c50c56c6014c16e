// send INTERFACE FILE PPS: sends a pcap file's packets once, PPS a second (0: as fast as it goes), and says the rate.
// What tcpreplay does, at less cost for each packet: many packets per system call, past the queueing discipline.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define BURST 64

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **words) {
  if (count != 4) return fputs("usage: send INTERFACE FILE PPS\n", stderr), 1;
  int file = open(words[2], O_RDONLY);
  struct stat about;
  if (file < 0 || fstat(file, &about)) return perror(words[2]), 1;
  size_t end = about.st_size;
  unsigned char *bytes = mmap(NULL, end, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
  if (bytes == MAP_FAILED) return perror(words[2]), 1;
  int out = socket(AF_PACKET, SOCK_RAW, 0), yes = 1, room = 8 << 20;
  setsockopt(out, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
  setsockopt(out, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(words[1])};
  if (out < 0 || bind(out, (void *)&to, sizeof to)) return perror(words[1]), 1;
  double pps = atof(words[3]), begun = now();
  unsigned long sent = 0, refused = 0;
  for (size_t at = 24; at + 16 < end;) {
    struct mmsghdr messages[BURST];
    struct iovec parts[BURST];
    memset(messages, 0, sizeof messages);
    int ready = 0, done = 0;
    for (; ready < BURST && at + 16 < end; ready++) {
      uint32_t length;
      memcpy(&length, bytes + at + 8, 4);
      if (length > end - at - 16) break;
      parts[ready] = (struct iovec){bytes + at + 16, length};
      messages[ready].msg_hdr.msg_iov = &parts[ready];
      messages[ready].msg_hdr.msg_iovlen = 1;
      at += 16 + length;
    }
    if (ready == 0) break;
    while (done < ready) {
      int taken = sendmmsg(out, messages + done, ready - done, 0);
      if (taken <= 0) refused++, done++;
      else sent += taken, done += taken;
    }
    while (pps > 0 && now() - begun < sent / pps) {}
  }
  printf("%.0f packets/s, %lu sent, %lu refused\n", sent / (now() - begun), sent, refused);
}
