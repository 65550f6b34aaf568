"""A chat of two clients with the library `irc` of PyPI. Arguments: host, port.

Each step waits for an event. The last line is `done`; any other last line is a failure.
"""

import sys
import threading

import irc.client

HOST, PORT = sys.argv[1], int(sys.argv[2])
REACTOR = irc.client.Reactor()


class Person:
    """A connection and the events it received."""

    def __init__(self, nick):
        self.nick, self.events = nick, []
        self.connection = REACTOR.server()
        for name in (
            "welcome featurelist nicknameinuse join part kick quit topic currenttopic topicinfo mode "
            "pubmsg privmsg pubnotice namreply endofnames whoisuser whoischannels endofwhois invite "
            "inviteonlychan channelmodeis banlist endofbanlist away nowaway unaway list listend "
            "chanoprivsneeded disconnect error ison userhost whoreply endofwho nick"
        ).split():
            self.connection.add_global_handler(name, self.note)
        self.connection.connect(HOST, PORT, nick)

    def note(self, connection, event):
        # Handlers are global to the reactor, which holds the connections of all persons.
        if connection is self.connection:
            self.events.append(event)

    def until(self, kind, **wanted):
        """Return the next event of that kind with that source, target or arguments."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event.type == kind and all(
                    irc.client.NickMask(event.source).nick == value
                    if key == "nick"
                    else getattr(event, key) == value
                    for key, value in wanted.items()
                ):
                    return event
            REACTOR.process_once(timeout=0.05)


def main():
    ada, bob = Person("ada"), Person("bob")
    ada.until("welcome")
    bob.until("welcome")
    ada.connection.join("#tea")
    ada.until("endofnames")
    bob.connection.join("#tea")
    assert bob.until("namreply").arguments[2].split() == ["@ada", "bob"]
    ada.until("join", nick="bob")
    # What the library has parsed from RPL_ISUPPORT.
    assert ada.connection.features.nicklen == 30, vars(ada.connection.features)
    assert ada.connection.features.prefix == {"@": "o", "+": "v"}, vars(ada.connection.features)

    ada.connection.privmsg("#tea", "Grüße, 世界")
    assert bob.until("pubmsg", nick="ada").arguments == ["Grüße, 世界"]
    bob.connection.privmsg("ada", "psst: a secret")
    assert ada.until("privmsg", nick="bob").arguments == ["psst: a secret"]
    bob.connection.notice("#tea", "noted")
    ada.until("pubnotice", arguments=["noted"])

    bob.connection.topic("#tea", "mine")
    bob.until("chanoprivsneeded")
    ada.connection.topic("#tea", "Tea at 4")
    bob.until("topic", arguments=["Tea at 4"])
    ada.connection.mode("#tea", "+o-t bob")
    bob.until("mode", arguments=["+o-t", "bob"])
    bob.connection.mode("#tea", "+b eve!*@*")
    ada.until("mode", nick="bob")
    ada.connection.mode("#tea", "b")
    assert ada.until("banlist").arguments[1] == "eve!*@*"
    ada.until("endofbanlist")

    bob.connection.nick("bobby")
    ada.until("nick", target="bobby")
    ada.connection.whois(["bobby"])
    assert ada.until("whoisuser").arguments[0] == "bobby"
    assert ada.until("whoischannels").arguments[1].split() == ["@#tea"]
    ada.until("endofwhois")
    ada.connection.who("#tea")
    ada.until("whoreply")
    ada.until("endofwho")
    ada.connection.send_raw("AWAY :at lunch")
    ada.until("nowaway")
    bob.connection.privmsg("ada", "there?")
    assert bob.until("away").arguments == ["ada", "at lunch"]
    ada.connection.ison(["bobby", "eve"])
    assert ada.until("ison").arguments == ["bobby"]
    ada.connection.list()
    assert ada.until("list").arguments == ["#tea", "2", "Tea at 4"]

    ada.connection.mode("#tea", "+i")
    ada.connection.kick("#tea", "bobby", "out")
    assert bob.until("kick").arguments == ["bobby", "out"]
    bob.connection.join("#tea")
    bob.until("inviteonlychan")
    ada.connection.invite("bobby", "#tea")
    bob.until("invite", arguments=["#tea"])
    bob.connection.join("#tea")
    assert bob.until("currenttopic").arguments == ["#tea", "Tea at 4"]
    bob.until("topicinfo")
    ada.until("join", nick="bobby")

    third = Person("ada")
    third.until("nicknameinuse")
    third.connection.nick("eve")
    third.until("welcome")
    third.connection.quit("gone")
    bob.connection.quit("bye")
    assert ada.until("quit", nick="bobby").arguments == ["Quit: bye"]
    bob.until("disconnect")
    print("done")


# End the process if an event does not arrive.
threading.Timer(60, lambda: (print("an event did not arrive", flush=True), __import__("os")._exit(1))).start()
main()
sys.stdout.flush()
__import__("os")._exit(0)
