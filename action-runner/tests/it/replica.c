// What the tests scale: a static program that becomes ready as /config/mode tells it at its start.
//   good            ready at once
//   late MS         ready after MS milliseconds
//   never           never ready
//   flash           ready for exactly one question, then it exits with 3
//   crash           exits with 3 at once
// 8080 answers HTTP: 200, or 503 while it is not ready. 9000 accepts connections only while ready.
// `replica check` asks 8080, prints the answer's body and exits with 1 unless it was 200.
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int socket_at(int port, int listening) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listening) {
        if (bind(fd, (void *)&at, sizeof at) || listen(fd, 16)) return -1;
    } else {
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(fd, (void *)&at, sizeof at)) return -1;
    }
    return fd;
}

static int check(void) {
    char answer[1024] = {0};
    int fd = socket_at(8080, 0), used = 0, got;
    if (fd < 0) { puts("connection refused"); return 1; }
    if (write(fd, "GET / HTTP/1.0\r\n\r\n", 18) != 18) return 1;
    while ((got = read(fd, answer + used, sizeof answer - 1 - used)) > 0) used += got;
    char *body = strstr(answer, "\r\n\r\n");
    puts(body ? body + 4 : answer);
    return strstr(answer, " 200 ") ? 0 : 1;
}

static void stop(int signal) {
    (void)signal;
    _exit(0);
}

int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "check")) return check();
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    char mode[64] = "good";
    FILE *file = fopen("/config/mode", "r");
    if (file) {
        if (!fgets(mode, sizeof mode, file)) strcpy(mode, "good");
        fclose(file);
    }
    printf("starting in mode %s\n", mode);
    if (!strncmp(mode, "crash", 5)) { puts("fatal: no such upstream"); return 3; }
    int flash = !strncmp(mode, "flash", 5);
    long ready_at = now_ms();
    if (!strncmp(mode, "late", 4)) ready_at += atol(mode + 4);
    if (!strncmp(mode, "never", 5)) ready_at += 1000000000;
    struct pollfd at[2] = {{socket_at(8080, 1), POLLIN, 0}, {-1, POLLIN, 0}};
    for (;;) {
        int ready = now_ms() >= ready_at;
        if (ready && at[1].fd < 0) at[1].fd = socket_at(9000, 1);
        if (poll(at, 2, 20) <= 0) continue;
        for (int i = 0; i < 2; i++) {
            if (!(at[i].revents & POLLIN)) continue;
            int peer = accept(at[i].fd, NULL, NULL);
            if (i == 0) {
                char ask[2048];
                const char *yes = "HTTP/1.0 200 OK\r\n\r\nok\n";
                const char *no = "HTTP/1.0 503 Service Unavailable\r\n\r\n"
                                 "not ready: cannot reach upstream cache.invalid:6379\n";
                const char *say = ready ? yes : no;
                if (read(peer, ask, sizeof ask) > 0 && write(peer, say, strlen(say)) < 0) puts("gone");
            }
            close(peer);
            if (flash) { puts("fatal: upstream went away"); return 3; }
        }
    }
}
