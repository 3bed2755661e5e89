// Timers of Go, and an HTTP answer for whoever makes load: timers PORT
// Prints "tick NAME MICROSECONDS" whenever a timer fires: how late it was.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func tick(name string, late time.Duration) {
	os.Stdout.WriteString(fmt.Sprintf("tick %s %d\n", name, late.Microseconds()))
}

func ticker(period time.Duration) {
	due := time.Now()
	// A receiver that comes late finds the tick in the channel: what counts is when it is taken.
	for range time.NewTicker(period).C {
		due = due.Add(period)
		tick(fmt.Sprintf("time.Ticker(%v)", period), time.Since(due))
	}
}

func sleeper(period time.Duration) {
	for {
		begin := time.Now()
		time.Sleep(period)
		tick(fmt.Sprintf("time.Sleep(%v)", period), time.Since(begin)-period)
	}
}

func main() {
	go ticker(time.Second)
	go sleeper(2 * time.Second)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) })
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
