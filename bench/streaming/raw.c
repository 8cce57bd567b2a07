/* The floor: accept connections, and send each event, of the size of ours, to each of them. No HTTP beyond a fixed head. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
static int clients[MOST], count;
static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\n\n\r\n";

static void take(int listener) {
    char request[4096];
    int client = accept(listener, NULL, NULL);
    if (client < 0 || count == MOST || read(client, request, sizeof request) <= 0) return;
    if (send(client, head, sizeof head - 1, MSG_NOSIGNAL) > 0) clients[count++] = client;
}

static double seconds(const struct timeval *time) { return time->tv_sec + time->tv_usec / 1e6; }

int main(void) {
    char event[366], line[64];
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 16384 ? files.rlim_max : 16384;
    setrlimit(RLIMIT_NOFILE, &files);
    memset(event, 'x', sizeof event);
    memcpy(event + sizeof event - 4, "\n\n\r\n", 4);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    bind(listener, (struct sockaddr *)&place, sizeof place);
    listen(listener, 2048);
    getsockname(listener, (struct sockaddr *)&place, &size);
    printf("%d\n", ntohs(place.sin_port));
    fflush(stdout);
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener}, told = {.events = EPOLLIN, .data.fd = 0};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &wanted);
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &told);
    for (;;) {
        struct epoll_event ready;
        if (epoll_wait(poll, &ready, 1, -1) < 1) continue;
        if (ready.data.fd == listener) { take(listener); continue; }
        ssize_t got = read(0, line, sizeof line - 1);
        if (got <= 0) return 0;
        if (line[0] == 't') {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            for (int i = 0; i < count; i++) send(clients[i], event, sizeof event, MSG_NOSIGNAL);
            double began = now.tv_sec + now.tv_nsec / 1e9;
            printf("%.9f %.9f\n", began, began);
        } else {
            struct rusage used;
            getrusage(RUSAGE_SELF, &used);
            printf("%.6f\n", seconds(&used.ru_utime) + seconds(&used.ru_stime));
        }
        fflush(stdout);
    }
}
