"""How is the model spread over ranks, and what do they send each other?"""
