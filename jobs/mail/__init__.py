"""Send mails: one actor for each kind of mail, its templates, and the SMTP client.

Public modules: `actors` declares the actors of the queue `mail`; `templates` renders a mail in the language of its
recipient; `smtp` composes and sends one message.
"""
