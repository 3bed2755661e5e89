// A small HTTP server for a static Go binary, with goroutines that allocate and verify, and
// timers that check themselves. The paths are those of server.py; /asked maps memory and
// advises MADV_HUGEPAGE itself.
package main

import (
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var timers, early, late, wrong, blocks int64
var old []byte
var oldAt int64

func saw(asked, took time.Duration) {
	atomic.AddInt64(&timers, 1)
	if took < asked {
		atomic.AddInt64(&early, 1)
	}
	us := (took - asked).Microseconds()
	for seen := atomic.LoadInt64(&late); us > seen && !atomic.CompareAndSwapInt64(&late, seen, us); {
		seen = atomic.LoadInt64(&late)
	}
}

func churn(seed int64) {
	random := rand.New(rand.NewSource(seed))
	var live [64][]int64
	var sums [64]int64
	for {
		at := random.Intn(64)
		sum := int64(0)
		for _, x := range live[at] {
			sum = sum*31 + x
		}
		if sum != sums[at] {
			atomic.AddInt64(&wrong, 1)
		}
		block := make([]int64, 1+random.Intn(4095))
		sum = 0
		for i := range block {
			block[i] = random.Int63()
			sum = sum*31 + block[i]
		}
		live[at], sums[at] = block, sum
		if atomic.AddInt64(&blocks, 1)%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

func mapped(bytes int) []byte {
	block, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	return block
}

func touch(block []byte) {
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
}

func main() {
	old = mapped(512 << 20)
	for i := int64(0); i < 4; i++ {
		go churn(i)
	}
	for _, d := range []time.Duration{11 * time.Millisecond, 17 * time.Millisecond} {
		go func(d time.Duration) {
			for {
				t := time.Now()
				time.Sleep(d)
				saw(d, time.Since(t))
			}
		}(d)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		word := parts[len(parts)-1]
		mb, _ := strconv.Atoi(word)
		switch parts[1] {
		case "echo":
			fmt.Fprint(w, strings.Repeat(word, 3))
		case "asked":
			block := mapped(mb << 20)
			if err := syscall.Madvise(block, 14); err != nil {
				panic(err)
			}
			touch(block)
			fmt.Fprint(w, "ok")
		case "old":
			at := atomic.AddInt64(&oldAt, int64(mb)<<20)
			touch(old[at-int64(mb)<<20 : at])
			fmt.Fprint(w, "ok")
		case "stats":
			fmt.Fprintf(w, `{"timers": %d, "early": %d, "late_us": %d, "wrong": %d, "blocks": %d}`, atomic.LoadInt64(&timers),
				atomic.LoadInt64(&early), atomic.SwapInt64(&late, 0), atomic.LoadInt64(&wrong), atomic.LoadInt64(&blocks))
		}
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
